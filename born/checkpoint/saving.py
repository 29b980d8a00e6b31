"""`save`: the state of a training run into one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from born.backend import B, Backend
from born.checkpoint.document import Document, SavedGroup, SavedOptimizer, SavedParameter
from born.checkpoint.metadata import as_json
from born.checkpoint.parts import Models, Optimizers, Parts, Stateful, as_path, check_data, prefix
from born.checkpoint.writing import Source, write
from born.dtypes import as_dtype, int64
from born.optim import Optimizer
from born.raw import HostArray, RawTensor


def save(
    path: str | os.PathLike[str],
    *,
    model: Models[B] | None = None,
    optimizer: Optimizers[B] | None = None,
    data: Stateful | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write all that is needed to resume training, to the bit, into one file.

    That is the model's parameters; the optimizer's state, config (with the current learning
    rate), groups and the gradients that `Tensor.backward` has accumulated so far; and the random
    state of their backend. The file is a safetensors file with a checksum for each tensor and one
    for everything else. It is written beside `path`, flushed to the disk and then renamed: a
    crash, or a full disk, leaves the previous file as it was. No second copy of the state is
    made in memory.

    Args:
        path: the file, which is replaced if it exists.
        model: saved as `model.{path}` for each entry of its `state_dict`. Several in a dict
            by name are saved as `model.{name}.{path}`.
        optimizer: saved as `optimizer.{key}` for each entry of its `state_dict`, and by name
            if there are several. Each parameter is recorded with its path in the model; without
            a model, with its name.
        data: what gives the batches, such as a `born.data.DataLoader`: its position is saved.
        metadata: your own, as JSON types (tuples come back as lists); `load` returns it.

    Raises:
        CheckpointError: the metadata is not JSON; nothing was written.
        BackendMismatchError: the models and optimizers are on two backends.
        CheckpointWriteError: the file cannot be written; a previous one is untouched.

    >>> import tempfile
    >>> model = nn.Linear(2, 1, backend)
    >>> optimizer = optim.Adam(model.parameters(), optim.AdamConfig())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/run.safetensors"
    ...     checkpoint.save(path, model=model, optimizer=optimizer, metadata={"epoch": 3})
    ...     checkpoint.load(path, model=model, optimizer=optimizer)
    {'epoch': 3}
    """
    file_path = as_path(path)
    Snapshot.of(model, optimizer, data, metadata).write(file_path)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is to be written: what `save` was given, live, or copied.

    Attributes:
        document: what goes beside the tensors.
        sources: the tensors by the names they have in the file.
    """

    document: Document
    sources: Mapping[str, Source]

    @classmethod
    def of(
        cls,
        model: Models[Any] | None,
        optimizer: Optimizers[Any] | None,
        data: Stateful | None,
        metadata: Mapping[str, Any] | None,
    ) -> Snapshot:
        """The state as it is; its arrays are the live ones, so write it before they change."""
        check_data(data)
        json_metadata = as_json({} if metadata is None else metadata)
        parts = Parts(model, optimizer)
        backend = parts.backend
        live: dict[str, RawTensor | int] = {}
        for name, each in parts.models.items():
            live |= _prefixed(prefix("model", name), each.live_state())
        for name, trained in parts.optimizers.items():
            live |= _prefixed(prefix("optimizer", name), trained.live_state())
            live |= _prefixed(prefix("gradient", name), _gradients(trained))
        document = Document(
            {name: type(each).__name__ for name, each in parts.models.items()},
            {name: _saved(parts, trained) for name, trained in parts.optimizers.items()},
            None if backend is None else dict(backend.random_state),
            json_metadata,
            None if data is None else as_json(data.state_dict(), "the state of data"),
        )
        return cls(document, {name: _source(backend, value) for name, value in live.items()})

    def copied(self) -> Snapshot:
        """The same with every tensor copied to the host, so that training may go on."""
        sources = {name: _held(each) for name, each in self.sources.items()}
        return Snapshot(self.document, sources)

    def write(self, path: Path, threads: int | None = None) -> None:
        """Write it to a file, hashing on `threads` or all of the pool."""
        write(path, self.sources, self.document.to_json(), threads)


def _prefixed(before: str, state: Mapping[str, RawTensor | int]) -> dict[str, RawTensor | int]:
    return {before + key: value for key, value in state.items()}


def _gradients(optimizer: Optimizer[Any]) -> dict[str, RawTensor]:
    """The index of a parameter -> the gradient accumulated for it, where there is one."""
    gradients = {str(i): p.raw.grad for i, p in enumerate(optimizer.parameters)}
    return {index: gradient for index, gradient in gradients.items() if gradient is not None}


def _saved(parts: Parts, optimizer: Optimizer[Any]) -> SavedOptimizer:
    """What the document says of an optimizer."""
    names = parts.parameter_names(optimizer)
    return SavedOptimizer(
        type(optimizer).__name__,
        optimizer.config.to_json(),
        [
            SavedParameter(name, p.shape, p.dtype.name)
            for name, p in zip(names, optimizer.parameters, strict=True)
        ],
        optimizer.state_owners(),
        [
            SavedGroup(group.to_json(), members)
            for group, members in zip(optimizer.groups, optimizer.group_members, strict=True)
        ],
    )


def _source(backend: Backend | None, value: RawTensor | int) -> Source:
    """Where the elements of a live tensor, or of a count, come from."""
    if isinstance(value, int):
        return Source.of(np.array(value, int64))
    array: object = value.array
    if isinstance(array, np.ndarray):
        return Source.of(cast("HostArray", array))
    assert backend is not None  # there is a tensor, so there is one
    return Source(value.shape, as_dtype(value.dtype), partial(backend.to_numpy, value))


def _held(source: Source) -> Source:
    """A source of its own memory."""
    return Source.of(np.array(source.host(), source.dtype, order="C", copy=True))
