"""Saving and loading a model's state, beside other libraries and what NumPy alone takes.

Everyone saves the same arrays, and what was saved is flushed to the disk within the time, as born
does. Everyone loads into a model that is there: other libraries read into arrays of their own,
from which the values are then copied. "NumPy and the hash" is the yardstick: `tofile` or
`fromfile` of each array, and its SHA-256; nothing is copied into a model.

Peak memory is measured in a process for each: the most that it held while it saved or loaded,
beyond what it held before, the live model.
"""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import born
from born import checkpoint, nn
from born.backend import Backend
from born_numpy import NumpyBackend

Array = npt.NDArray[np.float32]

BYTES: Final = 1 << 30
QUICK_BYTES: Final = 1 << 26
TENSORS: Final = 32
ROUNDS: Final = 7
QUICK_ROUNDS: Final = 3

OURS: Final = "born"
YARDSTICK: Final = "NumPy and the hash"


class Holder(nn.Module[Backend]):
    """A model of equal tensors."""

    def __init__(self, size: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        backend = NumpyBackend()
        length = max(size // TENSORS // 4, 1)
        self.parts = [
            nn.Parameter(born.tensor(draw.standard_normal(length, np.float32), backend))
            for _ in range(TENSORS)
        ]

    @property
    def arrays(self) -> dict[str, Array]:
        """The live arrays by name."""
        return {path: p.raw.array for path, p in self.named_parameters()}


@dataclass(frozen=True)
class Competitor:
    """How a library saves a model to a path, and loads it again."""

    name: str
    save: Callable[[Holder, Path], object]
    load: Callable[[Holder, Path], object]


def _numpy_save(model: Holder, path: Path) -> None:
    with open(path, "wb") as file:
        for array in model.arrays.values():
            hashlib.sha256(array.data).digest()
            array.tofile(file)


def _numpy_load(model: Holder, path: Path) -> None:
    with open(path, "rb") as file:
        for array in model.arrays.values():
            hashlib.sha256(np.fromfile(file, np.float32, array.size).data).digest()


def _fill(model: Holder, values: Mapping[str, Any]) -> None:
    for name, array in model.arrays.items():
        np.copyto(array, values[name])


def _competitors() -> tuple[list[Competitor], list[str]]:
    """Who takes part, and who is not installed."""

    def born_save(model: Holder, path: Path) -> None:
        checkpoint.save(path, model=model)

    def born_load(model: Holder, path: Path) -> None:
        checkpoint.load(path, model=model)

    def unverified(model: Holder, path: Path) -> None:
        checkpoint.load(path, model=model, verify=False)

    found = [
        Competitor(OURS, born_save, born_load),
        Competitor("born, verify=False", born_save, unverified),
        Competitor(YARDSTICK, _numpy_save, _numpy_load),
    ]
    absent: list[str] = []
    safetensors: Any = importlib.import_module("safetensors.numpy")
    found.append(
        Competitor(
            "safetensors",
            lambda model, path: safetensors.save_file(model.arrays, path),
            lambda model, path: _fill(model, safetensors.load_file(path)),
        )
    )
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        return found, [f"PyTorch ({error})"]
    found.append(
        Competitor(
            "PyTorch",
            lambda model, path: torch.save(
                {name: torch.from_numpy(array) for name, array in model.arrays.items()}, path
            ),
            lambda model, path: _fill(model, torch.load(path, weights_only=True)),
        )
    )
    return found, absent


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _round(
    entries: Sequence[Competitor], models: tuple[Holder, Holder], folder: Path
) -> dict[str, tuple[float, float]]:
    """The seconds in which each saves and loads, in random order."""
    seconds: dict[str, tuple[float, float]] = {}
    for each in random.sample(list(entries), len(entries)):
        path = folder / "file"
        path.unlink(missing_ok=True)

        def save(each: Competitor = each, path: Path = path) -> None:
            each.save(models[0], path)
            _flush(path)

        def load(each: Competitor = each, path: Path = path) -> None:
            each.load(models[1], path)

        seconds[each.name] = _timed(save), _timed(load)
        if each.name != YARDSTICK:
            for name, array in models[1].arrays.items():
                if not np.array_equal(array, models[0].arrays[name]):
                    raise AssertionError(f"{each.name}: {name} is not what was saved")
                array.fill(0)
    return seconds


# -- memory ----------------------------------------------------------------------------------


def _status(field: str) -> int:
    """A number of bytes that Linux knows of this process."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(text.split(f"{field}:", 1)[1].split()[0])


def _peak(name: str, loads: bool, size: int, path: Path, queue: Any) -> None:
    """In a process of its own: the most memory that saving or loading takes."""
    (each,) = (entry for entry in _competitors()[0] if entry.name == name)
    model = Holder(size, seed=1)
    warm = path.with_suffix(".small")  # what a library allocates once, such as its threads
    small = Holder(1 << 20, seed=0)
    each.save(small, warm)
    each.load(small, warm)
    warm.unlink()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = _status("VmRSS")
    (each.load if loads else each.save)(model, path)
    queue.put(_status("VmHWM") - before)


def _peaks(entries: Sequence[Competitor], size: int, folder: Path) -> dict[str, tuple[int, int]]:
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    peaks: dict[str, tuple[int, int]] = {}
    for each in entries:
        found: list[int] = []
        for loads in (False, True):
            arguments = (each.name, loads, size, folder / "file", queue)
            process = context.Process(target=_peak, args=arguments)
            process.start()
            found.append(queue.get(timeout=300))
            process.join()
        peaks[each.name] = found[0], found[1]
    return peaks


# -- what is printed -------------------------------------------------------------------------


def _spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and quartiles.

    >>> _spread([1, 2, 3])
    '2.00 (1.50 to 2.50)'
    """
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def run(quick: bool = False, size: int | None = None, rounds: int | None = None) -> dict[str, Any]:
    """Measure, print tables, and return all figures."""
    size = (QUICK_BYTES if quick else BYTES) if size is None else size
    rounds = (QUICK_ROUNDS if quick else ROUNDS) if rounds is None else rounds
    entries, absent = _competitors()
    samples: list[dict[str, tuple[float, float]]] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < 3 * size:
            raise OSError(f"expected {3 * size} bytes free in {folder}; set TMPDIR to another disk")
        models = Holder(size, seed=0), Holder(size, seed=1)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} ...", file=sys.stderr, flush=True)
            samples.append(_round(entries, models, folder))
        del models
        peaks = _peaks(entries, size, folder) if sys.platform == "linux" else {}
    print(f"{size / 1e9:.2f} GB in {TENSORS} tensors, {rounds} rounds\n")
    figures: dict[str, Any] = {"bytes": size, "absent": absent, "competitors": {}}
    for column, word in enumerate(("save", "load")):
        print(f"{word:<22}{'GB/s':<24}{'its time / born' + chr(39) + 's':<24}peak memory / state")
        for each in entries:
            rates = [size / 1e9 / sample[each.name][column] for sample in samples]
            ratios = [sample[each.name][column] / sample[OURS][column] for sample in samples]
            peak = f"{peaks[each.name][column] / size:.2f}" if peaks else "not measured"
            print(f"{each.name:<22}{_spread(rates):<24}{_spread(ratios):<24}{peak}")
            figures["competitors"].setdefault(each.name, {})[word] = {
                "seconds": statistics.median(sample[each.name][column] for sample in samples),
                "ratio": statistics.median(ratios),
                "peak": peaks[each.name][column] if peaks else None,
            }
        print()
    for missing in absent:
        print(f"left out: {missing}")
    return figures
