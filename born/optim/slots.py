"""The buffers that an optimizer keeps its state in: made, and named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from born.backend import Backend
from born.dtypes import float32
from born.errors import RuleError
from born.fusion.codec import coded_size
from born.fusion.program import ELEMENT
from born.optim.rule import Rule
from born.optim.scalars import value_at
from born.optim.slot import PARAMETER
from born.raw import RawTensor, Shape


def own_slots(backend: Backend, raw: RawTensor, rule: Rule) -> tuple[RawTensor, ...]:
    """The slots that a parameter has for itself, as they start."""
    slots: list[RawTensor] = []
    for number, name in enumerate(rule.own_slots, 1):
        kind, dtype = rule.kind(name), rule.slot_dtype(name, raw.dtype)
        codec = rule.slot_codecs.get(name)
        if codec is not None:
            slot = backend.zeros((coded_size(raw.size),), dtype)
            if kind.start != 0.0:
                backend.encode_slot(
                    backend.full(raw.shape, _start(rule, name), float32), codec, slot
                )
        elif kind.start == PARAMETER:
            slot = backend.slot(raw, dtype, number)
            backend.assign(slot, raw if raw.dtype == dtype else backend.astype(raw, dtype))
        elif kind.rank == ELEMENT:
            slot = backend.slot(raw, dtype, number)
            if kind.start != 0.0:
                backend.assign(slot, backend.full(raw.shape, _start(rule, name), dtype))
        else:
            slot = backend.full(kind.shape(rule.seen(raw.shape)), _start(rule, name), dtype)
        slots.append(slot)
    return tuple(slots)


def shared_slots(backend: Backend, rules: Iterable[Rule]) -> dict[str, RawTensor]:
    """The slots of rank group of some rules, by name, as they start."""
    return {
        name: backend.full((), _start(rule, name), "float64")
        for rule in {id(rule): rule for rule in rules}.values()
        for name in rule.group_slots
    }


def by_name(rules: Sequence[Rule], buffers: Sequence[Sequence[RawTensor]]) -> dict[str, RawTensor]:
    """`{slot}.{index}` -> its buffer: the first slot of every parameter, then the second, ...

    What is coded has its codec in its name, as in `m.int8.0`: other codes are not taken for it.
    """
    names = dict.fromkeys(stored_name(rule, slot) for rule in rules for slot in rule.own_slots)
    owned = [
        {stored_name(rule, slot): buffer for slot, buffer in zip(rule.own_slots, own, strict=True)}
        for rule, own in zip(rules, buffers, strict=True)
    ]
    return {
        f"{name}.{i}": slots[name]
        for name in names
        for i, slots in enumerate(owned)
        if name in slots
    }


def stored_name(rule: Rule, slot: str, *, decoded: bool = False) -> str:
    """What a slot is called in a state, without the number of its parameter."""
    meaning, codec = rule.kind(slot).meaning, rule.slot_codecs.get(slot, "")
    return ".".join(each for each in (slot, meaning, "" if decoded else codec) if each)


class Coded(NamedTuple):
    """A coded slot of a parameter.

    Attributes:
        name: in a state whose slots are numbers, such as `m.0`.
        codec: what it is kept as.
        shape: of its parameter.
    """

    name: str
    codec: str
    shape: Shape


def coded_slots(rules: Sequence[Rule], raws: Sequence[RawTensor]) -> dict[str, Coded]:
    """The slots that are coded, by their names in the state."""
    coded: dict[str, Coded] = {}
    for i, (rule, raw) in enumerate(zip(rules, raws, strict=True)):
        for slot, codec in rule.slot_codecs.items():
            name = f"{stored_name(rule, slot, decoded=True)}.{i}"
            coded[f"{stored_name(rule, slot)}.{i}"] = Coded(name, codec, raw.shape)
    return coded


def described(rules: Sequence[Rule], raws: Sequence[RawTensor]) -> str:
    """The slots of parameters' rules, each with its dtypes, in words."""
    dtypes: dict[str, dict[str, None]] = {}
    for raw, rule in zip(raws, rules, strict=True):
        for slot in rule.slots:
            kind = rule.kind(slot)
            name = slot if kind.rank == ELEMENT else f"{slot} of rank {kind.rank}"
            kept = rule.slot_codecs.get(slot) or str(rule.slot_dtype(slot, raw.dtype))
            dtypes.setdefault(name, {})[kept] = None
    return ", ".join(f"{name} ({', '.join(kinds)})" for name, kinds in dtypes.items()) or (
        "no state"
    )


def _start(rule: Rule, slot: str) -> float:
    """The number that a slot starts with."""
    start = rule.kind(slot).start
    if not isinstance(start, str):
        return start
    if start not in rule.scalars:
        raise RuleError(
            f"the slot {slot!r}: expected its start to be a number, 'p' or a scalar of the rule, "
            f"got {start!r} beside the scalars {', '.join(rule.scalars)}; correct the name"
        )
    return value_at(rule.scalars[start], 1)
