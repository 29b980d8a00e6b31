"""`load`: the state of a training run from a file, matched by name, all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from born.backend import B
from born.checkpoint.document import Document
from born.checkpoint.matching import Renaming
from born.checkpoint.parts import (
    Models,
    Optimizers,
    Parts,
    Stateful,
    as_path,
    check_data,
    prefix,
)
from born.checkpoint.planning import Options, Plan, planned, planned_weights
from born.checkpoint.reading import File, open_file
from born.errors import OperandError
from born.nn import Module
from born.validation import choice, flag

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
    options = Options(
        Renaming(rename),
        flag("partial", partial, OperandError),
        choice("hyperparameters", hyperparameters, ("saved", "current"), OperandError),
        flag("convert_dtypes", convert_dtypes, OperandError),
        flag("verify", verify, OperandError),
    )
    with opened(file_path) as (file, saved):
        plan = planned(file, saved, parts, data, options)
        plan.check()
        plan.run()
    return _report(plan) if partial else saved.metadata


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
    options = Options(
        Renaming(rename),
        flag("partial", partial, OperandError),
        "saved",
        flag("convert_dtypes", convert_dtypes, OperandError),
        verify=True,
    )
    with open_file(file_path, foreign=True) as file:
        if file.version:
            plan = planned(file, _document(file), parts, None, options)
        else:
            plan = planned_weights(file, parts, options)
        plan.random_state = None  # weights alone are the start of something new
        plan.check()
        plan.run()
    return _report(plan)


def _report(plan: Plan) -> PartialLoad:
    return PartialLoad(plan.saved.metadata, tuple(plan.loaded), plan.kept, tuple(plan.unused))


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
        if set(each.owners) != file.keys(prefix("optimizer", name)):
            raise file.damage("tensors of another optimizer than its header describes")
    return document
