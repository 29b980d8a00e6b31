"""What a load takes from a file, and where to, planned in full before anything is changed.

Each model and optimizer that is asked for is matched with what the file holds of it. What does not
fit is noted, and `Plan.check` refuses all of it in one message.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from born.checkpoint.document import ONLY, Document, SavedOptimizer, SavedParameter
from born.checkpoint.grouping import restored_groups
from born.checkpoint.matching import Renaming, labels, paired
from born.checkpoint.parts import Parts, Stateful, label, prefix, within
from born.checkpoint.reading import File, Stored
from born.dtypes import int64
from born.errors import CheckpointMismatchError
from born.nn import Module
from born.nn.state import StateValue, value_mismatches
from born.optim import Config, Group, Optimizer
from born.optim.accumulation import ACCUMULATE, BATCHES
from born.optim.state import OPTIONAL, RECORDS, amid
from born.raw import HostArray, RawTensor
from born.tensor import Tensor
from born.validation import mismatch_text


@dataclass(frozen=True, slots=True)
class Options:
    """How to load; as the arguments of `load`."""

    renaming: Renaming
    partial: bool
    hyperparameters: str
    convert: bool
    verify: bool


@dataclass
class Plan:
    """What will be loaded into what, and what speaks against it."""

    file: File
    saved: Document
    parts: Parts
    data: Stateful | None
    options: Options
    mismatches: list[str] = field(default_factory=list[str])
    loaded: list[str] = field(default_factory=list[str])
    kept: dict[str, str] = field(default_factory=dict[str, str])
    unused: list[str] = field(default_factory=list[str])
    tensors: list[Stored] = field(default_factory=list[Stored])
    models: dict[str, dict[str, StateValue]] = field(
        default_factory=dict[str, dict[str, StateValue]]
    )
    optimizers: dict[str, dict[str, StateValue | int]] = field(
        default_factory=dict[str, dict[str, StateValue | int]]
    )
    configs: dict[str, Config] = field(default_factory=dict[str, Config])
    groups: dict[str, list[Group] | None] = field(default_factory=dict[str, "list[Group] | None"])
    gradients: list[tuple[Tensor[Any], Stored | None]] = field(
        default_factory=list[tuple[Tensor[Any], "Stored | None"]]
    )
    random_state: dict[str, Any] | None = None

    def stored(self, name: str, live: RawTensor | None) -> Stored:
        """A tensor of the file, as what it is to be loaded into if it is to be converted."""
        stored = self.file.stored(name)
        if live is not None and self.options.convert and stored.shape == live.shape:
            stored = stored.converted(live.dtype)
        return stored

    def fits(self, kind: str, name: str, entry: str, lines: list[str]) -> bool:
        """Note that an entry of a model or an optimizer is loaded, or why it is not."""
        full_name = prefix(kind, name) + entry
        if not lines:
            self.loaded.append(full_name)
        elif self.options.partial:
            self.kept[full_name] = "; ".join(lines)
        else:
            self.refuse(kind, name, [f"{entry!r}: {line}" for line in lines])
        return not lines

    def leave(self, kind: str, name: str, key: str, renamed: str) -> None:
        """Note what is in the file and has no place here."""
        self.unused.append(prefix(kind, name) + key)
        if not self.options.partial:
            self.refuse(kind, name, [f"{renamed!r}: unexpected"])

    def refuse(self, kind: str, name: str, lines: list[str]) -> None:
        """Note what speaks against loading a model or an optimizer."""
        self.mismatches += [f"{label(kind, name)}: {line}" for line in lines]

    def check(self) -> None:
        """Refuse what cannot be loaded, before anything is changed."""
        asked = [kind for kind, _ in self.parts.all()]
        asked += [] if self.data is None else ["data"]
        if self.options.partial and asked and not self.loaded and not self.mismatches:
            self.mismatches += [f"{name}: {reason}" for name, reason in self.kept.items()]
            self.mismatches.append("nothing fits; rename={old: new} maps names")
        if self.mismatches:
            kinds = list(dict.fromkeys(asked))
            expected = f"a checkpoint of this {' and this '.join(kinds)}"
            made = {1: "it as it was", 2: "both as they were"}.get(len(kinds), "all as they were")
            remedy = (
                f"make {made} made when it was saved, or say what may differ by rename=, "
                "partial=True or convert_dtypes=True, nothing was changed"
            )
            raise CheckpointMismatchError(
                f"{self.file.path}: {mismatch_text(expected, self.mismatches, remedy)}"
            )
        if self.options.verify:
            self.file.check([each.name for each in self.tensors])
        for each in self.tensors:
            if each.dtype != each.found:  # numbers that do not fit
                each.read_into(np.empty(each.shape, each.dtype))

    def run(self) -> None:
        """Write everything."""
        backend = self.parts.backend
        read = [
            (parameter, None if gradient is None else _array(gradient))
            for parameter, gradient in self.gradients
        ]
        if self.data is not None:  # first, for it may still refuse
            self.data.load_state_dict(self.saved.data)
        for name, state in self.models.items():
            self.parts.models[name].load_state_dict(state)
        for name, values in self.optimizers.items():
            optimizer = self.parts.optimizers[name]
            if name in self.configs:
                optimizer.configure(config=self.configs[name], groups=self.groups[name])
            optimizer.load_state_dict(values)
        for parameter, array in read:
            inner = parameter.backend.innermost
            parameter.raw.grad = None if array is None else inner.from_numpy(array)
        if backend is not None and self.random_state is not None:
            backend.set_random_state(self.random_state)
        self.file.check_unchanged()


def _array(stored: Stored) -> HostArray:
    array = np.empty(stored.shape, stored.dtype)
    stored.read_into(array)
    return array


def planned(
    file: File, saved: Document, parts: Parts, data: Stateful | None, options: Options
) -> Plan:
    """The plan of loading these parts from a checkpoint."""
    plan = Plan(file, saved, parts, data, options)
    present: list[tuple[str, str]] = []
    for kind, name in parts.all():
        if name in saved.names(kind):
            present.append((kind, name))
        else:
            plan.refuse(kind, name, [_absent(saved, kind)])
    plan.mismatches += options.renaming.mismatches(_names(file, saved))
    for kind, name in present:
        if kind == "model":
            _plan_model(plan, name, parts.models[name], prefix(kind, name))
        else:
            _plan_optimizer(plan, name, parts.optimizers[name], saved.optimizers[name])
    plan.mismatches += _data_mismatches(saved, data)
    everything = {(kind, name) for kind in ("model", "optimizer") for name in saved.names(kind)}
    whole = everything == set(present) and not options.partial
    if parts.backend is not None and whole and saved.random_state is not None:
        plan.random_state = saved.random_state
        try:
            parts.backend.check_random_state(saved.random_state)
        except Exception as error:  # a generator may refuse what was forged in any words
            plan.mismatches.append(f"random state: {error}")
    return plan


def planned_weights(file: File, parts: Parts, options: Options) -> Plan:
    """The plan of loading one model from a file of another library."""
    plan = Plan(file, Document({ONLY: ""}, {}, None, {}), parts, None, options)
    plan.mismatches += options.renaming.mismatches(file.entries)
    _plan_model(plan, ONLY, parts.models[ONLY], before="")
    return plan


def _data_mismatches(saved: Document, data: Stateful | None) -> list[str]:
    if data is None:
        return []
    if saved.data is None:
        return ["data: expected its position, got a checkpoint that was saved without data"]
    check: Callable[[Any], list[str]] = getattr(data, "check_state_dict", lambda state: [])
    return [f"data: {line}" for line in check(saved.data)]


def _absent(saved: Document, kind: str) -> str:
    """What to say of a part that the file does not have."""
    names = saved.names(kind)
    if not names:
        return f"expected one, got a checkpoint that was saved without the {kind}"
    if names == [ONLY]:
        return (
            f"expected one of that name, got a checkpoint of a single {kind}; pass {kind}= "
            "without a dict"
        )
    return f"expected one, got a checkpoint of {', '.join(map(repr, names))}"


def _names(file: File, saved: Document) -> set[str]:
    """Every name in the file that can be renamed."""
    names = {
        within(name) + key for name in saved.models for key in file.keys(prefix("model", name))
    }
    return names | {p.name for each in saved.optimizers.values() for p in each.parameters}


def _plan_model(plan: Plan, name: str, model: Module[Any], before: str) -> None:
    """Match the state of a model by path; names in the file begin with `before`."""
    live = model.live_state()
    found: dict[str, str] = {}
    for key in sorted(plan.file.keys(before)):
        path = plan.options.renaming(within(name) + key).removeprefix(within(name))
        if path in found:
            plan.refuse("model", name, [f"{path!r}: two in the file under this name"])
        found[path] = key
    state: dict[str, StateValue] = {}
    for path, parameter in model.named_state():
        state[path] = live[path]
        if path in found:
            stored = plan.stored(before + found[path], live[path])
            if plan.fits("model", name, path, value_mismatches(parameter, stored)):
                state[path] = stored
                plan.tensors.append(stored)
        else:
            expected = f"expected shape {parameter.shape} and dtype {parameter.dtype}"
            plan.fits("model", name, path, [f"missing, {expected}"])
    for path, key in found.items():
        if path not in live:
            plan.leave("model", name, key, path)
    plan.models[name] = state


def _plan_optimizer(
    plan: Plan, name: str, optimizer: Optimizer[Any], saved: SavedOptimizer
) -> None:
    """Match the state of an optimizer by the names of its parameters."""
    kind = type(optimizer).__name__
    if saved.kind != kind:
        plan.refuse("optimizer", name, [f"expected {kind}, got the state of {saved.kind}"])
        return
    here = plan.parts.parameter_names(optimizer)
    there = [plan.options.renaming(p.name) if p.name else "" for p in saved.parameters]
    pairs = paired(here, there)
    plan.refuse("optimizer", name, _config_mismatches(plan, name, saved, pairs))
    live = optimizer.live_state()
    state: dict[str, StateValue | int] = dict(live)
    ours, theirs = _by_owner(optimizer.state_owners()), _by_owner(saved.owners)
    absent = RECORDS if BATCHES in saved.owners else OPTIONAL
    for index, called in enumerate(labels(here)):
        parameter, other = optimizer.parameters[index], pairs.get(index)
        if other is None:
            plan.fits("optimizer", name, called, ["missing, the file has no state of it"])
            continue
        lines = _parameter_mismatches(plan, parameter, saved.parameters[other])
        loaded: dict[str, StateValue | int] = {}
        if not lines:
            loaded, lines = _slots(
                plan, name, ours.get(index, {}), theirs.get(other, {}), live, absent
            )
        if plan.fits("optimizer", name, called, lines):
            _take(plan, state, loaded)
            _plan_gradient(plan, name, parameter, other)
    if None in ours or None in theirs:
        loaded, lines = _slots(plan, name, ours.get(None, {}), theirs.get(None, {}), live, absent)
        if plan.fits("optimizer", name, _COMMON, lines):
            _take(plan, state, loaded)
    taken = set(pairs.values())
    for other, called in enumerate(labels(there)):
        if other not in taken:
            plan.leave("optimizer", name, called, called)
    counts = {key: value for key, value in live.items() if isinstance(value, int)}
    # What this optimizer does not gather, the file may have gathered.
    given = {
        key: plan.file.read(prefix("optimizer", name) + key)
        for key in (ACCUMULATE, BATCHES)
        if key in saved.owners
    }
    plan.refuse("optimizer", name, amid(counts, {**state, **given}))
    plan.optimizers[name] = state


_COMMON: Final = "state of all parameters"


def _by_owner(owners: Mapping[str, int | None]) -> dict[int | None, dict[str, str]]:
    """Owner -> slot -> key."""
    slots: dict[int | None, dict[str, str]] = {}
    for key, owner in owners.items():
        slots.setdefault(owner, {})[key.rpartition(".")[0]] = key
    return slots


def _take(
    plan: Plan, state: dict[str, StateValue | int], loaded: Mapping[str, StateValue | int]
) -> None:
    """Put what fits into the state to load."""
    state |= loaded
    plan.tensors += [each for each in loaded.values() if isinstance(each, Stored)]


def _config_mismatches(
    plan: Plan, name: str, saved: SavedOptimizer, pairs: Mapping[int, int]
) -> list[str]:
    """Set the config and the groups to load, and say why they cannot be."""
    if plan.options.hyperparameters == "current":
        return []
    optimizer = plan.parts.optimizers[name]
    kind = optimizer.config_type
    # An option that the config has got since the file was written stays at its default.
    defaults = {
        each.name: each.default
        for each in dataclasses.fields(kind)
        if each.default is not dataclasses.MISSING
    }
    try:
        config = kind.from_json({**defaults, **saved.config}, like=optimizer.config)
        groups = restored_groups(optimizer, saved, pairs)
        plan.configs[name], plan.groups[name] = config, groups
        return optimizer.check_config(config, groups)
    except Exception as error:  # a class may refuse what was forged in any words
        return [str(error) or type(error).__name__]


def _parameter_mismatches(plan: Plan, parameter: Tensor[Any], saved: SavedParameter) -> list[str]:
    lines: list[str] = []
    if saved.shape is not None and saved.shape != parameter.shape:
        lines.append(f"expected shape {parameter.shape}, got {saved.shape}")
    if saved.dtype not in (None, parameter.dtype.name) and not plan.options.convert:
        lines.append(f"expected dtype {parameter.dtype}, got {saved.dtype}")
    return lines


def _slots(
    plan: Plan,
    name: str,
    ours: Mapping[str, str],
    theirs: Mapping[str, str],
    live: Mapping[str, RawTensor | int],
    absent: Collection[str],
) -> tuple[dict[str, StateValue | int], list[str]]:
    """Key -> what to load there, of one owner's slots, and why they do not fit."""
    loaded: dict[str, StateValue | int] = {}
    lines: list[str] = []
    for slot, key in ours.items():
        if slot in theirs:
            entry = prefix("optimizer", name) + theirs[slot]
            loaded[key], reasons = _value(plan, plan.parts.optimizers[name], entry, live[key])
            lines += [f"{slot}: {reason}" for reason in reasons]
        elif slot in absent:  # saved with other policies: nothing was recorded or gathered
            value = live[key]
            loaded[key] = 0 if isinstance(value, int) and key != ACCUMULATE else value
        else:
            lines.append(f"{slot}: missing")
    lines += [f"{slot}: unexpected" for slot in theirs if slot not in (*ours, *OPTIONAL)]
    return loaded, lines


def _value(
    plan: Plan, optimizer: Optimizer[Any], name: str, live: RawTensor | int
) -> tuple[StateValue | int, list[str]]:
    """What to load for an entry of state, and why it does not fit."""
    if isinstance(live, RawTensor):
        stored = plan.stored(name, live)
        return stored, value_mismatches(Tensor(live, optimizer.backend.innermost), stored)
    stored = plan.file.stored(name)
    if stored.shape != () or stored.dtype != int64:
        return live, [f"expected an int64 of shape (), got {stored.dtype} of {stored.shape}"]
    count = int(plan.file.read(name).item())
    return count, [] if count >= 0 else [f"expected a number of updates, got {count}"]


def _plan_gradient(plan: Plan, name: str, parameter: Tensor[Any], index: int) -> None:
    """The gradient accumulated for a parameter: there may be none."""
    key = f"{prefix('gradient', name)}{index}"
    if key not in plan.file.entries:
        plan.gradients.append((parameter, None))
        return
    stored = plan.stored(key, parameter.raw)
    plan.gradients.append((parameter, stored))
    plan.tensors.append(stored)
