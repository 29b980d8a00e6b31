"""`Store`: what is kept, what is restored, and that writes in the background are never lost."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from born import checkpoint, nn, optim
from born.checkpoint import CheckpointWarning, Store, saving, writing
from born.checkpoint import format as file_format
from born.checkpoint import store as stores
from born.data import DataLoader
from born.errors import (
    BornError,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointVersionError,
    CheckpointWriteError,
    ConfigError,
    OperandError,
)
from born_numpy import NumpyBackend
from tests.checkpoint.runs import Run, make_run
from tests.tools import allocated

NAMES = "step-{:08d}.safetensors"


@pytest.fixture
def run(backend_name: str) -> Run:
    return make_run(optim.AdamConfig(), backend_name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "first"


def parts(run: Run) -> dict[str, Any]:
    return {"model": run.model, "optimizer": run.optimizer}


def steps(folder: Path) -> list[int]:
    """The steps that are saved; nothing else lies there."""
    names = sorted(os.listdir(folder))
    found = [int(name[5:13]) for name in names]
    assert names == [NAMES.format(step) for step in found]
    return found


def damage(path: Path | None, at: int = -1) -> None:
    assert path is not None
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# -- saving and restoring ---------------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
def test_newest_is_restored_to_the_bit(background: bool, run: Run, folder: Path) -> None:
    store = Store(folder)
    assert (store.latest(), store.best()) == (None, None)
    assert not folder.exists(), "looking makes no folder"
    for number in range(3):
        run.step(number)
        store.save(number + 1, **parts(run), metadata={"note": "é"}, background=background)
    saved = run.everything()
    run.step(3)
    store.wait()
    other = make_run(optim.AdamConfig(), seed=1)
    assert Store(folder).restore(**parts(other)) == {"step": 3, "note": "é"}
    assert other.everything() == saved
    assert store.latest() == folder / NAMES.format(3)
    assert checkpoint.load(folder / NAMES.format(3)) == {"step": 3, "note": "é"}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs the names of open files")
def test_folder_is_flushed_when_it_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    for _ in range(2):
        Store(folder).save(1)
    folders = [path for path in flushed if path.is_dir()]
    # Of `runs/first`, what holds each of the new folders; then what holds the file, twice.
    assert folders == [folder.parent, folder.parent.parent, folder, folder]


def test_position_in_the_data_is_restored(folder: Path) -> None:
    loader, other = (DataLoader(np.arange(6), 2, shuffle=True, seed=1) for _ in range(2))
    next(iter(loader))
    store = Store(folder)
    store.save(1, data=loader)
    store.restore(data=other)
    assert other.state_dict() == loader.state_dict()
    wrong = DataLoader(np.arange(6), 3, shuffle=True, seed=2)
    with pytest.raises(CheckpointMismatchError, match=r"data: 'batch_size': expected 3, got 2\n"):
        store.restore(data=wrong)
    assert wrong.batch == 0
    store.save(2)
    with pytest.raises(CheckpointMismatchError, match="data: expected its position, got a ch"):
        store.restore(data=other)


def test_data_that_is_refused_changes_nothing(run: Run, folder: Path) -> None:
    loader, wrong = (DataLoader(np.arange(6), size) for size in (2, 3))
    Store(folder).save(1, **parts(run), data=loader)
    other = make_run(optim.AdamConfig(), seed=1)
    before = other.everything()
    with pytest.raises(CheckpointMismatchError, match="this model and this optimizer and this dat"):
        Store(folder).restore(**parts(other), data=wrong)
    assert other.everything() == before


def test_options_of_load_are_handed_on(run: Run, folder: Path) -> None:
    Store(folder).save(1, **parts(run))
    other = make_run(optim.AdamConfig(lr=0.5), seed=1)
    Store(folder).restore(**parts(other), hyperparameters="current")
    assert other.optimizer.lr == 0.5
    with pytest.raises(CheckpointMismatchError, match="no-such"):
        Store(folder).restore(**parts(other), rename={"no-such": "name"})


# -- what is kept -------------------------------------------------------------------------------


def saved(folder: Path, losses: list[float], **options: Any) -> list[int]:
    store = Store(folder, **options)
    for step, loss in enumerate(losses):
        store.save(step, metadata={"loss": loss, "accuracy": -loss})
    return steps(folder)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [1, 3, 4, 5]),
        ({"keep_last": 1}, [1, 5]),
        ({"keep_last": 1, "keep_best": 0}, [5]),
        ({"keep_last": 1, "keep_best": 2}, [1, 4, 5]),
        ({"keep_last": 2, "mode": "max"}, [3, 4, 5]),
        ({"keep_last": 1, "monitor": "accuracy", "mode": "max"}, [1, 5]),
        ({"keep_last": 1, "monitor": "missing"}, [5]),
        ({"keep_last": None}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_last_and_best_are_kept(options: dict[str, Any], kept: list[int], folder: Path) -> None:
    assert saved(folder, [5.0, 1.0, 4.0, 6.0, 2.0, 3.0], **options) == kept


def test_best_is_the_later_of_equals_and_has_a_number(folder: Path) -> None:
    store = Store(folder, keep_last=None)
    for step, loss in enumerate([None, 2.0, True, "1", 1, 1.0, 10**400]):
        store.save(step, metadata={"loss": loss})
    assert store.best() == folder / NAMES.format(5)
    assert Store(folder, mode="max").best() == folder / NAMES.format(6)


def test_order_of_saves_says_which_is_the_last(folder: Path) -> None:
    store = Store(folder, keep_last=2, keep_best=0)
    for step in (10, 20, 30, 15):
        store.save(step)
    assert steps(folder) == [15, 30]
    assert store.latest() == folder / NAMES.format(15)
    assert Store(folder).restore() == {"step": 15}
    store.save(30)
    assert Store(folder).restore() == {"step": 30}
    store.save(10**9)
    assert Store(folder).restore() == {"step": 10**9}


def test_files_of_others_are_left_alone(folder: Path) -> None:
    folder.mkdir(parents=True)
    others = {"notes.txt", "step-1.safetensors.bak", "model.safetensors", "step-x.safetensors"}
    for name in others:
        (folder / name).write_text("mine")
    saved_store = Store(folder, keep_last=1)
    saved_store.save(1)
    saved_store.save(2)
    assert set(os.listdir(folder)) == others | {NAMES.format(2)}


def test_last_good_file_is_never_deleted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(folder, keep_last=1, keep_best=0)
    store.save(1)
    write = writing.write

    def damaged(path: Path, *arguments: Any) -> None:
        write(path, *arguments)
        damage(path)

    with monkeypatch.context() as broken:
        broken.setattr(saving, "write", damaged)
        with pytest.raises(CheckpointWriteError, match="read back as it was written"):
            store.save(2, model=nn.Linear(2, 2, make_run(optim.AdamConfig()).backend))
    assert steps(folder) == [1, 2]
    with pytest.warns(CheckpointWarning, match="step-00000002"):
        assert store.restore() == {"step": 1}
    store.save(3)
    assert steps(folder) == [3]


# -- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 20, 400, -1])
def test_damaged_checkpoints_are_passed_over_with_a_reason(at: int, run: Run, folder: Path) -> None:
    store = Store(folder)
    store.save(0, **parts(run))
    good = run.everything()
    for number in (1, 2):
        run.step(number)
        store.save(number, **parts(run))
    damage(folder / NAMES.format(2), at)
    os.truncate(folder / NAMES.format(1), 1000)
    other = make_run(optim.AdamConfig(), seed=1)
    with pytest.warns(CheckpointWarning) as caught:
        assert store.restore(**parts(other)) == {"step": 0}
    (warning,) = caught
    text = str(warning.message)
    assert warning.filename == __file__
    assert f"restored {folder / NAMES.format(0)}, and passed over:\n" in text
    for step in (1, 2):
        assert f"\n  {folder / NAMES.format(step)}: expected a checkpoint as it was written" in text
    assert other.everything() == good


def test_damaged_checkpoints_are_not_deleted(folder: Path) -> None:
    store = Store(folder, keep_last=1, keep_best=0)
    store.save(1)
    damage(store.latest(), 30)
    store.save(2)
    store.save(3)
    assert steps(folder) == [1, 3]
    store.save(1)
    assert steps(folder) == [1]


def test_no_checkpoint_verifies(run: Run, folder: Path) -> None:
    store = Store(folder)
    for step in (1, 2):
        store.save(step, **parts(run))
        damage(store.latest())
    before = run.everything()
    with pytest.raises(CheckpointCorruptError, match=r"got none of 2; .*\n.*00002.*\n.*00001"):
        store.restore(**parts(run))
    assert run.everything() == before


def test_run_does_not_begin_anew_because_all_is_damaged(folder: Path) -> None:
    store = Store(folder)
    store.save(1)
    damage(store.latest(), 30)
    assert store.latest() == folder / NAMES.format(1)
    assert store.best() is None
    with pytest.raises(CheckpointCorruptError, match="got none of 1"):
        store.restore()


def test_checkpoints_of_others_and_of_the_future_are_errors(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(folder)
    store.save(1, **parts(run))
    store.save(2, model=run.model)
    with pytest.raises(CheckpointMismatchError, match="saved without the optimizer"):
        store.restore(**parts(run))
    with monkeypatch.context() as future:
        future.setattr(file_format, "VERSION", file_format.VERSION + 1)
        store.save(3, **parts(run))
    with pytest.raises(CheckpointVersionError, match="update born"):
        store.restore(**parts(run))
    store.save(4, **parts(run))
    store.save(5, **parts(run))
    store.save(6, **parts(run))
    assert steps(folder) == [3, 4, 5, 6], "what a newer version has saved is not deleted"


def test_nothing_to_restore(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="expected a checkpoint to restore, got none"):
        Store(folder).restore()
    (tmp_path / "file").write_text("mine")
    store = Store(tmp_path / "file")
    for use in (store.restore, store.latest, store.best):
        with pytest.raises(
            CheckpointError, match=r"expected a directory of checkpoints, got .*Not"
        ):
            use()
    with pytest.raises(CheckpointWriteError, match=r"expected a directory to save in, got .*; cho"):
        store.save(1)
    assert (tmp_path / "file").read_text() == "mine"


def test_file_that_vanishes_before_it_is_read(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has saved, and deleted the file that was the newest when we looked."""
    store, other = Store(folder), Store(folder, keep_last=1, keep_best=0)
    store.save(1, **parts(run))
    calls: list[Path] = []

    def late(path: Path) -> None:
        calls.append(path)
        if len(calls) == 1:
            other.save(2, **parts(run))
        checkpoint.verify(path)

    monkeypatch.setattr(stores, "verify", late)
    assert store.restore(**parts(run)) == {"step": 2}
    names = [path.name for path in calls]
    assert names == [NAMES.format(1), *([NAMES.format(2)] * (len(names) - 1))]


def test_link_to_nothing_is_passed_over(folder: Path) -> None:
    store = Store(folder)
    store.save(1)
    (folder / NAMES.format(2)).symlink_to("nowhere")
    with pytest.warns(CheckpointWarning, match=r"00002.safetensors: expected .*No such file"):
        assert store.restore() == {"step": 1}


def test_directory_that_cannot_be_written(folder: Path) -> None:
    store = Store(folder)
    store.save(1)
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("the superuser may write everywhere")
        with pytest.raises(CheckpointWriteError, match="Permission denied"):
            store.save(2)
    finally:
        folder.chmod(0o755)
    assert steps(folder) == [1]


# -- writing in the background ----------------------------------------------------------------


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[], None]]:
    """Writes that wait until they are let go."""
    gate, write = threading.Event(), writing.write

    def waiting(*arguments: Any) -> None:
        assert gate.wait(60)
        write(*arguments)

    with monkeypatch.context() as slow:
        slow.setattr(saving, "write", waiting)
        try:
            yield gate.set
        finally:
            gate.set()


def test_training_goes_on_while_a_snapshot_is_written(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(folder)
    with held(monkeypatch) as let_go:
        run.step(0)
        before = run.everything()
        store.save(1, **parts(run), background=True)
        run.step(1)
        assert not folder.exists() or not os.listdir(folder)
        let_go()
        store.wait()
    other = make_run(optim.AdamConfig(), seed=1)
    store.restore(**parts(other))
    assert other.everything() == before


def test_one_copy_is_made_for_the_background(folder: Path) -> None:
    model = nn.Linear(1000, 1000, NumpyBackend())
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    store = Store(folder)
    size = 3 * 4 * 1000 * 1001

    def save() -> None:
        for step in range(3):
            store.save(step, model=model, optimizer=optimizer, background=True)
        store.wait()

    assert size < allocated(save) < 1.2 * size


def test_system_without_threads_writes_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    store = Store(folder)
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        store.save(1, background=True)
    assert steps(folder) == [1]
    assert store.restore() == {"step": 1}


def test_interrupt_before_the_writer_begins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    store = Store(folder)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.save(1, background=True)
    store.save(2, background=True)
    assert store.restore() == {"step": 2}


def broken(error: BaseException) -> Callable[..., None]:
    def write(*_: Any) -> None:
        raise error

    return write


CALLS: dict[str, Callable[[Store], Any]] = {
    "save": lambda store: store.save(2),
    "background": lambda store: store.save(2, background=True),
    "wait": Store.wait,
    "close": Store.close,
    "restore": Store.restore,
    "latest": Store.latest,
    "best": Store.best,
    "with": lambda store: store.__exit__(None, None, None),
}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("too big")])
@pytest.mark.parametrize("call", CALLS)
def test_failure_in_the_background_surfaces_at_the_next_call(
    call: str, error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(folder)
    store.save(0)
    with monkeypatch.context() as full:
        full.setattr(saving, "write", broken(error))
        store.save(1, background=True)
        with pytest.raises(
            CheckpointWriteError, match=rf"step 1 .*{re.escape(str(error))}.*not saved"
        ) as caught:
            CALLS[call](store)
    assert caught.value.__cause__ is error
    store.wait()
    assert store.restore() == {"step": 0}
    store.save(2, background=True)
    assert store.restore() == {"step": 2}


def test_error_of_the_program_comes_before_that_of_the_writer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "write", broken(OSError(28, "full")))

    def interrupted() -> None:
        with Store(folder) as store:
            store.save(1, background=True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    assert "step 1 to be written in the background" in caught.value.__notes__[0]
    with pytest.raises(CheckpointWriteError, match="full"), Store(folder) as store:
        store.save(1, background=True)


# -- two writers ------------------------------------------------------------------------------


def test_threads_share_a_directory(run: Run, folder: Path) -> None:
    """There is always one that verifies."""
    failures: list[BaseException] = []

    def train(first: int) -> None:
        try:
            store = Store(folder, keep_last=2, keep_best=0)
            for step in range(first, first + 12):
                store.save(step % 5, **parts(run), background=bool(first))
                assert store.latest() is not None  # waits
                assert Store(folder).restore()["step"] < 5
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=train, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(steps(folder)) == 2


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_last": 0}, "expected keep_last of at least 1, got 0"),
        ({"keep_best": -1}, "expected keep_best of at least 0, got -1"),
        ({"keep_best": 1.5}, "expected keep_best as an integer, got 1.5"),
        ({"mode": "least"}, 'expected mode="min" or "max", got \'least\''),
        ({"monitor": 3}, "expected monitor as the name of a number in metadata, got 3"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        Store(folder, **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"step": -1}, ConfigError, "expected step of at least 0, got -1"),
        ({"step": 1.0}, ConfigError, "expected step as an integer"),
        ({"step": 1, "metadata": {"step": 2}}, CheckpointError, "metadata whose 'step' is 1"),
        ({"step": 1, "metadata": [1]}, CheckpointError, "expected metadata as a mapping"),
        ({"step": 1, "metadata": {"loss": float("nan")}}, CheckpointError, "finite numbers"),
        ({"step": 1, "data": 3}, OperandError, r"expected data with state_dict .*got int"),
        ({"step": 1, "model": 3}, OperandError, "expected model to be"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: dict[str, Any], error: type[BornError], message: str, folder: Path
) -> None:
    for background in (False, True):
        with pytest.raises(error, match=message):
            Store(folder).save(**arguments, background=background)
    assert not folder.exists()
    wrong: Any = None
    with pytest.raises(OperandError, match="expected the path of a "):
        Store(wrong)
