"""`Store`: the checkpoints of a run in a directory, of which the last and the best are kept."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeGuard, cast

from born.backend import B
from born.checkpoint.durable import make_folder
from born.checkpoint.loading import Hyperparameters, Rename, load, opened, verify
from born.checkpoint.parts import Models, Optimizers, Stateful, as_path
from born.checkpoint.saving import Snapshot
from born.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointVersionError,
    CheckpointWriteError,
    ConfigTypeError,
)
from born.validation import choice, integer

_NAME: Final = re.compile(r"step-(\d+)\.safetensors")
_DIGITS: Final = 8  # of a step, so that names sort; more where a step needs them
_VANISHED: Final = 10  # files that were gone when they were to be read, before one is passed over


class CheckpointWarning(UserWarning):
    """`Store.restore` has passed over checkpoints that cannot be read.

    To be told by an error instead, and so to go on from nothing but the newest:

    >>> import warnings
    >>> warnings.simplefilter("error", CheckpointWarning)  # doctest: +SKIP
    """


@dataclass(frozen=True, slots=True)
class _Entry:
    """A checkpoint in the directory: its place in the order of saves, and what `best` compares."""

    number: int
    step: int
    path: Path
    metric: float | None


class Store:
    """The checkpoints of a run in a directory: saved, found again and thinned out.

    Each save is a file `step-00000042.safetensors`, written as `checkpoint.save` writes one. Then
    what is neither among the last `keep_last` saves nor among the best `keep_best` is deleted,
    after the newest was read back and verified. Files of other names are left alone, and so are
    checkpoints that cannot be read. Several processes may save into one directory: every file is
    of one of them, and whole.

    As a context manager it waits for writes in the background at the end.

    Args:
        directory: where the files lie; the first save makes it.
        keep_last: how many of the last saves are kept; None keeps all.
        keep_best: how many of the best are kept besides.
        monitor: the number in `metadata` by which checkpoints are compared. Those without it are
            never the best.
        mode: whether the best is the `"min"` or the `"max"`.

    Raises:
        ConfigError: an argument out of range, or of the wrong type.
        OperandError: `directory` is not a path.

    >>> import tempfile
    >>> model = nn.Linear(2, 1, backend)
    >>> optimizer = optim.Adam(model.parameters(), lr=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(folder, keep_last=2)
    ...     for step, loss in enumerate([0.5, 0.3, 0.8, 0.6]):
    ...         store.save(step, model=model, optimizer=optimizer, metadata={"loss": loss})
    ...     sorted(path.name for path in store.directory.iterdir())
    ...     store.best().name
    ...     store.restore(model=model, optimizer=optimizer)
    ['step-00000001.safetensors', 'step-00000002.safetensors', 'step-00000003.safetensors']
    'step-00000001.safetensors'
    {'step': 3, 'loss': 0.6}
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        keep_last: int | None = 3,
        keep_best: int = 1,
        monitor: str = "loss",
        mode: str = "min",
    ) -> None:
        # Absolute, so that a program may change its working directory.
        self.directory: Final = as_path(directory).absolute()
        self._keep_last = None if keep_last is None else integer("keep_last", keep_last)
        self._keep_best = integer("keep_best", keep_best, 0)
        self._monitor = _name(monitor)
        self._sign = 1 if choice("mode", mode, ("min", "max")) == "min" else -1
        self._calls = threading.RLock()  # one thread at a time saves or restores
        self._writer: threading.Thread | None = None
        self._failure: tuple[int, BaseException] | None = None

    def __repr__(self) -> str:
        return f"Store({str(self.directory)!r})"

    # -- saving ----------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        *,
        model: Models[B] | None = None,
        optimizer: Optimizers[B] | None = None,
        data: Stateful | None = None,
        metadata: Mapping[str, Any] | None = None,
        background: bool = False,
    ) -> None:
        """Save a checkpoint, and delete those that are no longer to be kept.

        Args:
            step: the number in its name, at least 0; one that is there already is replaced. The
                order of saves, not of steps, says which is the last: a run that was set back to an
                earlier step goes on from there.
            model: as in `checkpoint.save`.
            optimizer: as in `checkpoint.save`.
            data: as in `checkpoint.save`.
            metadata: as in `checkpoint.save`, with the number that `monitor` names if the
                checkpoint may be the best. `step` is added to it.
            background: copy everything to the host's memory, return, and write on a thread. A
                save waits for the one before it, so that there is one copy at most. The end of the
                program waits too.

        Raises:
            CheckpointError: the metadata is not JSON, or holds another `step`.
            CheckpointWriteError: the file cannot be written; older ones are untouched. Also if
                the write in the background before this one failed; then this save did nothing.
        """
        with self._calls:
            self._finish()
            number = integer("step", step, 0)
            snapshot = Snapshot.of(model, optimizer, data, _with_step(number, metadata))
            if not background:
                self._write(number, snapshot)
                return
            snapshot = snapshot.copied()
            name = f"born checkpoint, step {number}"
            # Not a daemon: the interpreter waits for it before it ends.
            self._writer = threading.Thread(
                target=self._write_on_thread, args=(number, snapshot), name=name, daemon=False
            )
            try:
                self._writer.start()
            except RuntimeError:  # the system has no more threads, or the program is ending
                self._writer = None
                self._write(number, snapshot)

    def wait(self) -> None:
        """Wait until what was saved in the background is written.

        Raises:
            CheckpointWriteError: it could not be; every call of the store says so, once.
        """
        with self._calls:
            self._finish()

    def close(self) -> None:
        """The same as `wait`."""
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except CheckpointWriteError as failure:
            if error is None:
                raise
            error.add_note(str(failure))  # what went wrong first is what is raised

    def _finish(self) -> None:
        """Wait for the writer, and raise what it met."""
        if self._writer is not None and self._writer.ident is not None:  # it has been started
            self._writer.join()
        self._writer = None
        if self._failure is not None:
            (step, error), self._failure = self._failure, None
            _unreported.discard(self)
            raise CheckpointWriteError(
                f"{self.directory}: expected step {step} to be written in the background, got "
                f"{type(error).__name__}: {error}; step {step} is not saved, and this call did "
                "nothing else"
            ) from error

    def _write_on_thread(self, step: int, snapshot: Snapshot) -> None:
        try:
            self._write(step, snapshot)
        except BaseException as error:
            self._failure = (step, error)
            _unreported.add(self)

    def _write(self, step: int, snapshot: Snapshot) -> None:
        """Write a snapshot as the next one, and remove what is not to be kept."""
        try:
            make_folder(self.directory)
        except CheckpointWriteError:
            raise
        except OSError as error:
            raise CheckpointWriteError(
                f"{self.directory}: expected a directory to save in, got {error}; choose another "
                "path, or make it one that can be written"
            ) from error
        number = 1 + max((entry.number for entry in self._entries()), default=0)
        numbered = Snapshot(replace(snapshot.document, number=number), snapshot.sources)
        numbered.write(self.directory / f"step-{step:0{_DIGITS}}.safetensors")
        self._thin_out()

    def _thin_out(self) -> None:
        """Delete what is not to be kept, if the newest checkpoint is sound."""
        if self._keep_last is None:
            return
        entries = sorted(self._entries(), key=_age)
        kept = {*entries[: self._keep_last], *self._ranked(entries)[: self._keep_best]}
        surplus = [entry for entry in entries if entry not in kept]
        if not surplus:
            return
        # All processes agree on which is the newest, and none deletes that.
        try:
            verify(entries[0].path)
        except CheckpointNotFoundError:  # another process has replaced it by a newer one
            return
        except CheckpointError as error:
            raise CheckpointWriteError(
                f"{entries[0].path}: expected the newest checkpoint to be read back as it was "
                f"written, got {error}; older ones are untouched"
            ) from error
        for entry in surplus:
            # Another process may have saved this step again. On Windows, what a reader holds open
            # is deleted by a later save.
            with contextlib.suppress(CheckpointError, OSError):
                if self._entry(entry.path) == entry:
                    entry.path.unlink()

    # -- finding -----------------------------------------------------------------------------------

    def latest(self) -> Path | None:
        """The file that was saved last; None only if there is none, not even a damaged one.

        Headers were verified, tensors were not: that takes reading them, and `restore` does it.
        """
        with self._calls:
            self._finish()
            known, unknown = self._by_age()
        return next(iter([*known, *unknown]), None)

    def best(self) -> Path | None:
        """The file with the best number in its metadata, or None; the later one of equals."""
        with self._calls:
            self._finish()
            entries = self._ranked(self._entries())
        return entries[0].path if entries else None

    def restore(
        self,
        *,
        model: Models[B] | None = None,
        optimizer: Optimizers[B] | None = None,
        data: Stateful | None = None,
        rename: Rename | None = None,
        hyperparameters: Hyperparameters = "saved",
        convert_dtypes: bool = False,
    ) -> dict[str, Any]:
        """Resume from the newest checkpoint that verifies.

        Those that are damaged or cannot be read are passed over with a `CheckpointWarning` that
        says why. One of another model, or of a newer format, is an error: there nothing is lost,
        and an older file would be no remedy.

        Args:
            model: as in `checkpoint.load`.
            optimizer: as in `checkpoint.load`.
            data: as in `checkpoint.load`.
            rename: as in `checkpoint.load`.
            hyperparameters: as in `checkpoint.load`.
            convert_dtypes: as in `checkpoint.load`.

        Returns:
            The metadata of the checkpoint, with its `step`.

        Raises:
            CheckpointNotFoundError: there is no checkpoint in the directory.
            CheckpointCorruptError: there are some, and none verifies.
            CheckpointMismatchError: as in `checkpoint.load`.
            CheckpointVersionError: as in `checkpoint.load`.
            CheckpointWriteError: a write in the background has failed since the last call.

        On an error, nothing has changed.
        """
        with self._calls:
            self._finish()
            passed: dict[Path, str] = {}
            vanished = 0
            while path := self._next(passed):
                try:
                    verify(path)  # all of it: `load` checks what it is asked for
                    metadata = load(
                        path,
                        model=model,
                        optimizer=optimizer,
                        data=data,
                        rename=rename,
                        hyperparameters=hyperparameters,
                        convert_dtypes=convert_dtypes,
                    )
                except (CheckpointMismatchError, CheckpointVersionError):
                    raise
                except CheckpointError as error:
                    vanished += isinstance(error, CheckpointNotFoundError)
                    if not isinstance(error, CheckpointNotFoundError) or vanished > _VANISHED:
                        passed[path] = str(error)
                    continue
                if passed:
                    text = f"restored {path}, and passed over:{_listed(passed)}"
                    warnings.warn(text, CheckpointWarning, stacklevel=2)
                return metadata
        if passed:
            raise CheckpointCorruptError(
                f"{self.directory}: expected a checkpoint that verifies, got none of "
                f"{len(passed)}; use a copy of one:{_listed(passed)}"
            )
        raise CheckpointNotFoundError(
            f"{self.directory}: expected a checkpoint to restore, got none; "
            "save one first, or check the directory"
        )

    def _next(self, passed: Mapping[Path, str]) -> Path | None:
        """The newest file that was not passed over; those first whose age cannot be told.

        The directory is listed each time, for another process may have saved, and deleted what
        was there.
        """
        known, unknown = self._by_age()
        return next((path for path in [*unknown, *known] if path not in passed), None)

    def _by_age(self) -> tuple[list[Path], list[Path]]:
        """The checkpoints from the newest on, and those whose headers are damaged."""
        known = [entry.path for entry in sorted(self._entries(), key=_age)]
        return known, sorted(set(self._paths()).difference(known), reverse=True)

    def _ranked(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """The entries that have a metric, from the best on."""
        found = [entry for entry in entries if entry.metric is not None]
        return sorted(found, key=lambda entry: (self._sign * (entry.metric or 0), _age(entry)))

    def _paths(self) -> list[Path]:
        """The files that are named as checkpoints of a store are."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(
                f"{self.directory}: expected a directory of checkpoints, got {error}; check it"
            ) from error
        return [self.directory / name for name in names if _NAME.fullmatch(name)]

    def _entries(self) -> list[_Entry]:
        """The checkpoints whose headers verify, in no order."""
        entries: list[_Entry] = []
        for path in self._paths():
            with contextlib.suppress(CheckpointError):
                entries.append(self._entry(path))
        return entries

    def _entry(self, path: Path) -> _Entry:
        with opened(path) as (_, document):
            metric = document.metadata.get(self._monitor)
            match = _NAME.fullmatch(path.name)
            step = int(match[1]) if match else 0
            return _Entry(document.number, step, path, metric if _is_number(metric) else None)


def _age(entry: _Entry) -> tuple[int, int]:
    """What sorts entries from the newest to the oldest, the same for all processes."""
    return (-entry.number, -entry.step)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(monitor: object) -> str:
    if not isinstance(monitor, str):
        raise ConfigTypeError(
            f"expected monitor as the name of a number in metadata, got {monitor!r} of type "
            f"{type(monitor).__name__}; keep_best=0 keeps none"
        )
    return monitor


def _with_step(step: int, metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The metadata with the step; what is not a mapping is refused later, by its type."""
    if metadata is None:
        return {"step": step}
    if not isinstance(cast("object", metadata), Mapping):
        return metadata
    if metadata.get("step", step) != step:
        raise CheckpointError(
            f"expected metadata whose 'step' is {step}, the step that is saved, got "
            f"{metadata['step']!r}; leave it out, the store adds it"
        )
    return {"step": step, **metadata}


def _listed(passed: Mapping[Path, str]) -> str:
    return "".join(f"\n  {reason}" for reason in passed.values())


_unreported: Final[set[Store]] = set()
"""Stores with a failure that no call has raised; they live until one does, or the program ends."""


@atexit.register
def _report() -> None:
    """Show the failures that no call has raised."""
    for store in list(_unreported):
        try:
            store.wait()
        except CheckpointWriteError as error:
            traceback.print_exception(error)
