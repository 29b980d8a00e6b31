"""`load`: the state of a training run from a file, matched by name, all of it or nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, overload

import numpy as np

from born.backend import B
from born.checkpoint.document import ONLY, Document, SavedOptimizer
from born.checkpoint.grouping import restored_groups
from born.checkpoint.matching import Renaming, labels, paired
from born.checkpoint.parts import (
    Models,
    Optimizers,
    Parts,
    Stateful,
    as_path,
    check_data,
    label,
    prefix,
    within,
)
from born.checkpoint.reading import File, Stored, open_file
from born.dtypes import int64
from born.errors import CheckpointMismatchError, OperandError
from born.nn import Module
from born.nn.state import StateValue, value_mismatches
from born.optim import Config, Group, Optimizer
from born.optim.accumulation import ACCUMULATE
from born.optim.state import RECORDS, amid
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import choice, flag, mismatch_text

Rename: TypeAlias = Mapping[str, str] | Callable[[str], str]
"""Name in the file -> name here; in a mapping, names that stay may be left out."""

Hyperparameters: TypeAlias = Literal["saved", "current"]


@dataclass(frozen=True, slots=True)
class PartialLoad:
    """What a load with `partial=True` has done.

    Names begin with the part they belong to, as in `model.0.weight` and, for all that an
    optimizer keeps of a parameter, `optimizer.0.weight`.

    Attributes:
        metadata: the caller's own, as `load` returns it otherwise.
        loaded: what was taken from the file.
        kept: what stayed as it was, each with the reason.
        unused: what is in the file and was not taken.

    >>> import tempfile
    >>> old, new = nn.Linear(2, 3, backend), nn.Linear(2, 3, backend, bias=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(f"{folder}/old.safetensors", model=old)
    ...     checkpoint.load(f"{folder}/old.safetensors", model=new, partial=True)
    PartialLoad(metadata={}, loaded=('model.weight',), kept={}, unused=('model.bias',))
    """

    metadata: dict[str, Any]
    loaded: tuple[str, ...]
    kept: dict[str, str]
    unused: tuple[str, ...]


@overload
def load(
    path: str | os.PathLike[str],
    *,
    model: Models[B] | None = None,
    optimizer: Optimizers[B] | None = None,
    data: Stateful | None = None,
    rename: Rename | None = None,
    partial: Literal[False] = False,
    hyperparameters: Hyperparameters = "saved",
    convert_dtypes: bool = False,
    verify: bool = True,
) -> dict[str, Any]: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    model: Models[B] | None = None,
    optimizer: Optimizers[B] | None = None,
    data: Stateful | None = None,
    rename: Rename | None = None,
    partial: Literal[True],
    hyperparameters: Hyperparameters = "saved",
    convert_dtypes: bool = False,
    verify: bool = True,
) -> PartialLoad: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    model: Models[B] | None = None,
    optimizer: Optimizers[B] | None = None,
    data: Stateful | None = None,
    rename: Rename | None = None,
    partial: bool,
    hyperparameters: Hyperparameters = "saved",
    convert_dtypes: bool = False,
    verify: bool = True,
) -> dict[str, Any] | PartialLoad: ...


def load(
    path: str | os.PathLike[str],
    *,
    model: Models[B] | None = None,
    optimizer: Optimizers[B] | None = None,
    data: Stateful | None = None,
    rename: Rename | None = None,
    partial: bool = False,
    hyperparameters: Hyperparameters = "saved",
    convert_dtypes: bool = False,
    verify: bool = True,
) -> dict[str, Any] | PartialLoad:
    """Resume from a file that `save` wrote: all that is asked for is restored, or nothing.

    Parameters are matched by name: their path in the model, or their own name without one. One
    without a name has only its place in the optimizer. The values are written into existing
    parameters and buffers, so references to them stay valid, and read from the file one piece at
    a time, with no second copy in memory. Only what is asked for is read, twice: every byte is
    checked before the first one is written.

    The optimizer takes the config that it was saved with, learning rate included, and its
    parameters the accumulated gradients of then. The backend's random state is restored only
    if everything in the file is asked for: to take only the model is to start something new.

    Args:
        path: the file.
        model: takes the parameters; without it, they stay in the file. Several in a dict, as
            they were saved.
        optimizer: takes the state and the config; without it, they stay in the file.
        data: takes the position in the data; without it, that stays in the file.
        rename: name in the file -> name here, for parameters that have another name by now; or
            a function of the name.
        partial: take what fits, leave the rest as it is, and say which in a `PartialLoad`. The
            random state is not restored.
        hyperparameters: `"saved"`, or `"current"` to keep the optimizer's own config and groups.
        convert_dtypes: round values to the dtypes that are here, each number once.
        verify: check the tensors' checksums; the header's is checked in any case.

    Returns:
        The caller's own metadata, as JSON types; with `partial`, a `PartialLoad`.

    Raises:
        CheckpointNotFoundError: there is no file.
        CheckpointCorruptError: it differs from what `save` wrote, be it in a single bit.
        CheckpointVersionError: it was written by a newer version of born.
        CheckpointMismatchError: a model or an optimizer in it is missing, or does not match the
            one given. The message lists every mismatch.

        On an error, nothing has changed, unless the file is written to, or the disk fails, while
        it is read for the second time; the message says so.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(f"{folder}/notes.safetensors", metadata={"shape": (2, 3)})
    ...     checkpoint.load(f"{folder}/notes.safetensors")
    {'shape': [2, 3]}
    """
    file_path = as_path(path)
    parts = Parts(model, optimizer)
    check_data(data)
    options = _Options(
        Renaming(rename),
        flag("partial", partial, OperandError),
        choice("hyperparameters", hyperparameters, ("saved", "current"), OperandError),
        flag("convert_dtypes", convert_dtypes, OperandError),
        flag("verify", verify, OperandError),
    )
    with opened(file_path) as (file, saved):
        plan = _planned(file, saved, parts, data, options)
        plan.check()
        plan.run()
    if partial:
        return PartialLoad(saved.metadata, tuple(plan.loaded), plan.kept, tuple(plan.unused))
    return saved.metadata


def load_weights(
    path: str | os.PathLike[str],
    model: Module[Any],
    *,
    rename: Rename | None = None,
    partial: bool = False,
    convert_dtypes: bool = False,
) -> PartialLoad:
    """Take a model's weights from any safetensors file, whoever wrote it.

    Only the tensors that the model needs are read. A file of another library has no checksums:
    what is checked is its layout, names, shapes and dtypes, before anything is changed. Of a
    checkpoint with one model, that model is taken, as by `load`.

    Args:
        path: the file.
        model: takes the weights.
        rename: name in the file -> the parameter's path in the model; or a function of the name.
        partial: take what fits, and leave the rest as it is.
        convert_dtypes: round values to the dtypes of the model, each number once.

    Returns:
        What was taken and what was not; without `partial`, everything was. The metadata is that
        of a checkpoint.

    Raises:
        CheckpointNotFoundError: there is no file.
        CheckpointCorruptError: it is not a safetensors file, or was damaged.
        CheckpointMismatchError: names, shapes or dtypes differ; the message lists every mismatch.

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> layer = nn.Linear(2, 1, backend, bias=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"fc.weight": np.ones((1, 2), np.float32)}, f"{folder}/theirs.safetensors")
    ...     report = checkpoint.load_weights(
    ...         f"{folder}/theirs.safetensors", layer, rename={"fc.weight": "weight"})
    >>> report.loaded, layer.weight.tolist()
    (('model.weight',), [[1.0, 1.0]])
    """
    file_path, parts = as_path(path), Parts(model, None)
    options = _Options(
        Renaming(rename),
        flag("partial", partial, OperandError),
        "saved",
        flag("convert_dtypes", convert_dtypes, OperandError),
        verify=True,
    )
    with open_file(file_path, foreign=True) as file:
        if file.version:
            saved = _document(file)
            plan = _planned(file, saved, parts, None, options)
        else:
            saved = Document({ONLY: ""}, {}, None, {})
            plan = _Plan(file, saved, parts, None, options)
            plan.mismatches += options.renaming.mismatches(file.entries)
            _plan_model(plan, ONLY, model, before="")
        plan.random_state = None
        plan.check()
        plan.run()
    return PartialLoad(saved.metadata, tuple(plan.loaded), plan.kept, tuple(plan.unused))


def verify(path: str | os.PathLike[str]) -> None:
    """Read a checkpoint from end to end, and refuse it if it is not what `save` wrote.

    Raises:
        CheckpointError: as in `load`; the message names every tensor that is damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(f"{folder}/run.safetensors", model=nn.Linear(2, 1, backend))
    ...     checkpoint.verify(f"{folder}/run.safetensors")
    """
    with opened(as_path(path)) as (file, _):
        file.check()


@contextmanager
def opened(path: Path) -> Generator[tuple[File, Document]]:
    """A checkpoint, and what it says, both sound."""
    with open_file(path) as file:
        yield file, _document(file)


def _document(file: File) -> Document:
    """What a checkpoint says beside its tensors, if it is what `save` writes."""
    try:
        document = Document.from_json(file.version, file.document, file.entries)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise file.damage("a header with entries of another kind") from error
    for name, each in document.optimizers.items():
        if set(each.owners) != _keys(file, prefix("optimizer", name)):
            raise file.damage("tensors of another optimizer than its header describes")
    return document


def _keys(file: File, before: str) -> set[str]:
    """The names of tensors that begin with `before`, by what comes after."""
    return {name.removeprefix(before) for name in file.entries if name.startswith(before)}


# -- the plan --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Options:
    renaming: Renaming
    partial: bool
    hyperparameters: str
    convert: bool
    verify: bool


@dataclass
class _Plan:
    """What will be loaded into what, and what speaks against it."""

    file: File
    saved: Document
    parts: Parts
    data: Stateful | None
    options: _Options
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

    def take(self, name: str, lines: list[str], stored: list[Stored]) -> bool:
        """Note that something fits, or why it does not."""
        if not lines:
            self.loaded.append(name)
            self.tensors += stored
            return True
        if self.options.partial:
            self.kept[name] = "; ".join(lines)
        return False

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


def _array(stored: Stored) -> np.ndarray[Any, Any]:
    array = np.empty(stored.shape, stored.dtype)
    stored.read_into(array)
    return array


def _planned(
    file: File, saved: Document, parts: Parts, data: Stateful | None, options: _Options
) -> _Plan:
    plan = _Plan(file, saved, parts, data, options)
    present: list[tuple[str, str]] = []
    for kind, name in parts.all():
        if name in saved.names(kind):
            present.append((kind, name))
        else:
            plan.mismatches.append(_absent(saved, kind, name))
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


def _data_mismatches(saved: Document, data: Stateful | None) -> list[str]:
    if data is None:
        return []
    if saved.data is None:
        return ["data: expected its position, got a checkpoint that was saved without data"]
    check: Callable[[Any], list[str]] = getattr(data, "check_state_dict", lambda state: [])
    return [f"data: {line}" for line in check(saved.data)]


def _absent(saved: Document, kind: str, name: str) -> str:
    names = saved.names(kind)
    if not names:
        return (
            f"{label(kind, name)}: expected one, got a checkpoint that was saved without the {kind}"
        )
    if names == [""]:
        return (
            f"{label(kind, name)}: expected one of that name, got a checkpoint of a single "
            f"{kind}; pass {kind}= without a dict"
        )
    return f"{label(kind, name)}: expected one, got a checkpoint of {', '.join(map(repr, names))}"


def _names(file: File, saved: Document) -> set[str]:
    """Every name in the file that can be renamed."""
    names = {
        within(name) + key for name in saved.models for key in _keys(file, prefix("model", name))
    }
    return names | {p.name for each in saved.optimizers.values() for p in each.parameters}


def _plan_model(plan: _Plan, name: str, model: Module[Any], before: str) -> None:
    """Match the state of a model by path; names in the file begin with `before`."""
    title, called = label("model", name), prefix("model", name)
    live = model.live_state()
    named = model.named_state()
    found: dict[str, str] = {}
    for key in sorted(_keys(plan.file, before)):
        path = plan.options.renaming(within(name) + key).removeprefix(within(name))
        if path in found:
            plan.mismatches.append(f"{title}: {path!r}: two in the file under this name")
        found[path] = key
    state: dict[str, StateValue] = {}
    for path, parameter in named:
        if path in found:
            stored = plan.stored(before + found[path], live[path])
            lines = value_mismatches(parameter, stored)
            state[path] = stored
        else:
            stored = None
            lines = [f"missing, expected shape {parameter.shape} and dtype {parameter.dtype}"]
        if not plan.take(called + path, lines, [] if stored is None else [stored]):
            state[path] = live[path]
            if not plan.options.partial:
                plan.mismatches += [f"{title}: {path!r}: {line}" for line in lines]
    for path, key in found.items():
        if path not in live:
            plan.unused.append(called + key)
            if not plan.options.partial:
                plan.mismatches.append(f"{title}: {path!r}: unexpected")
    plan.models[name] = state


def _plan_optimizer(
    plan: _Plan, name: str, optimizer: Optimizer[Any], saved: SavedOptimizer
) -> None:
    """Match the state of an optimizer by the names of its parameters."""
    title, kind = label("optimizer", name), type(optimizer).__name__
    if saved.kind != kind:
        plan.mismatches.append(f"{title}: expected {kind}, got the state of {saved.kind}")
        return
    values = optimizer.live_state()
    state: dict[str, StateValue | int] = dict(values)
    here = plan.parts.parameter_names(optimizer)
    there = [plan.options.renaming(p.name) if p.name else "" for p in saved.parameters]
    pairs = paired(here, there)
    lines = _config_mismatches(plan, name, saved, pairs)
    plan.mismatches += [f"{title}: {line}" for line in lines]
    ours, theirs = optimizer.state_owners(), saved.owners
    before = prefix("optimizer", name)
    owners: list[tuple[str, int | None, int | None]] = [
        (title_of, index, pairs.get(index)) for index, title_of in enumerate(labels(here))
    ]
    if None in ours.values() or None in theirs.values():
        owners.append((_COMMON, None, None))
    for called, index, other in owners:
        if index is not None and other is None:
            lines, entries = ["missing, the file has no state of it"], {}
        else:
            entries = _slots(theirs, other)
            lines = []
            if index is not None and other is not None:
                lines = _parameter_mismatches(plan, optimizer.parameters[index], saved, other)
        loaded: dict[str, StateValue | int] = {}
        if not lines:
            slots = _slots(ours, index)
            for slot, key in slots.items():
                entry = before + entries[slot] if slot in entries else None
                loaded[key], reasons = _entry(plan, optimizer, entry, key, values[key])
                lines += [f"{slot}: {reason}" for reason in reasons]
            lines += [f"{slot}: unexpected" for slot in entries if slot not in (*slots, *RECORDS)]
        stored = [each for each in loaded.values() if isinstance(each, Stored)]
        if plan.take(before + called, lines, stored):
            state |= loaded
            if index is not None:
                _plan_gradient(plan, name, optimizer.parameters[index], other)
        elif not plan.options.partial:
            plan.mismatches += [f"{title}: {called!r}: {line}" for line in lines]
    taken = {other for _, _, other in owners}
    for other, called in enumerate(labels(there)):
        if other not in taken:
            plan.unused.append(before + called)
            if not plan.options.partial:
                plan.mismatches.append(f"{title}: {called!r}: unexpected")
    counts = {key: value for key, value in values.items() if isinstance(value, int)}
    plan.mismatches += [f"{title}: {line}" for line in amid(counts, state)]
    plan.optimizers[name] = state


_COMMON: Final = "state of all parameters"


def _slots(owners: Mapping[str, int | None], owner: int | None) -> dict[str, str]:
    """Slot -> key, of what belongs to one owner."""
    return {key.rpartition(".")[0]: key for key, each in owners.items() if each == owner}


def _config_mismatches(
    plan: _Plan, name: str, saved: SavedOptimizer, pairs: Mapping[int, int]
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


def _parameter_mismatches(
    plan: _Plan, parameter: Tensor[Any], saved: SavedOptimizer, index: int
) -> list[str]:
    other = saved.parameters[index]
    lines: list[str] = []
    if other.shape is not None and other.shape != parameter.shape:
        lines.append(f"expected shape {parameter.shape}, got {other.shape}")
    if other.dtype not in (None, parameter.dtype.name) and not plan.options.convert:
        lines.append(f"expected dtype {parameter.dtype}, got {other.dtype}")
    return lines


def _entry(
    plan: _Plan, optimizer: Optimizer[Any], name: str | None, key: str, live: RawTensor | int
) -> tuple[StateValue | int, list[str]]:
    """As `_value`, of an entry that the file may not have."""
    if name is not None:
        return _value(plan, optimizer, name, live)
    if key.rpartition(".")[0] in RECORDS:
        return (live if key == ACCUMULATE else 0), []
    return live, ["missing"]


def _value(
    plan: _Plan, optimizer: Optimizer[Any], name: str, live: RawTensor | int
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


def _plan_gradient(plan: _Plan, name: str, parameter: Tensor[Any], index: int | None) -> None:
    """The gradient accumulated for a parameter: there may be none."""
    key = f"{prefix('gradient', name)}{index}"
    if key not in plan.file.entries:
        plan.gradients.append((parameter, None))
        return
    stored = plan.stored(key, parameter.raw)
    plan.gradients.append((parameter, stored))
    plan.tensors.append(stored)
