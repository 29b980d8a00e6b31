"""Whole models, each library in a process of its own and in turn: `python -m benchmarks models`.

A library's threads, caches and memory are then its own. All processes of a row are there from the
start; one at a time is asked for some steps, the others wait. They are started anew several times,
for where memory lies is chance and stays so for a process. What is printed is the least time of
a step over all turns, as a machine that others use as well slows some of them down, and the ratio
of those; in brackets the median of the ratios of turns and their middle half; beside it the ratio
of the least processor time, of all threads together, which depends less on what else runs, but
counts the time in which threads only wait for each other. A ratio over 1 means born is faster. Peak
memory is that of the process, with what it imports.
"""

from __future__ import annotations

import importlib
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

import born
from benchmarks import functions, machine, models, optimizer_step, optimizers, recurrent
from benchmarks.clocks import Step, wall_time
from benchmarks.harness import Spread
from benchmarks.models import CnnSizes, GptSizes
from benchmarks.recurrent import LstmSizes, MlpSizes
from born.backend import Backend

OURS: Final = "born"
FUSED: Final = "PyTorch fused"
EAGER: Final = "PyTorch eager"
JITTED: Final = "JAX jitted"

Makers: TypeAlias = Mapping[str, Callable[[], Step]]

GPT: Final = GptSizes(layers=4, width=128, heads=4, vocabulary=64, context=128, batch=16)
CNN: Final = CnnSizes(side=28, channels=(16, 32), hidden=128, batch=64)
LSTM: Final = LstmSizes(layers=2, width=128, batch=32, steps=64)
MLP: Final = MlpSizes(widths=(784, 512, 512, 10), batch=128, dropout=0.1)
_TOKENS: Final = 100

_TURN: Final = 0.5  # seconds of a turn, about
_ROUNDS: Final = 15
_QUICK_ROUNDS: Final = 3
_STARTS: Final = 3  # of the processes of a row, which share the rounds
_CHECKED: Final = 3  # first steps, whose results are compared
_WARM: Final = 3  # further steps before any is timed
_MEGA: Final = 1e6


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        title: what is computed.
        makers: library -> what makes its step, in its own process.
        asked: of other libraries, the ratio to reach.
        tolerance: between results of the first steps; None where they draw numbers of their own.
    """

    title: str
    makers: Makers
    asked: Mapping[str, float]
    tolerance: float | None


def rows() -> list[Row]:
    """What is measured on a CPU."""
    weights, batches = models.gpt_problem(GPT)
    gpt = {
        OURS: lambda: models.born_step(partial(models.born_gpt, GPT), weights, batches, _backend()),
        FUSED: lambda: _pytorch_step(partial(models.pytorch_gpt, GPT), weights, batches),
    }
    generation = {
        OURS: lambda: models.born_generation(GPT, _TOKENS, _backend()),
        EAGER: lambda: models.pytorch_generation(GPT, _TOKENS, _torch()),
    }
    cnn_weights, images = models.cnn_problem(CNN)
    cnn = {
        OURS: lambda: models.born_step(
            partial(models.born_cnn, CNN), cnn_weights, images, _backend()
        ),
        FUSED: lambda: _pytorch_step(partial(models.pytorch_cnn, CNN), cnn_weights, images),
    }
    lstm = {
        OURS: lambda: recurrent.born_lstm(LSTM, _backend()),
        FUSED: lambda: recurrent.pytorch_lstm(LSTM, _torch()),
    }
    mlp = {
        OURS: lambda: recurrent.born_mlp(MLP, _backend()),
        FUSED: lambda: recurrent.pytorch_mlp(MLP, _torch()),
    }
    values = np.random.default_rng(0).standard_normal(functions.ELEMENTS).astype(np.float32)
    ten = {
        OURS: lambda: functions.born_step(_backend(), values),
        EAGER: lambda: functions.pytorch_step(values, "cpu", _torch()),
        JITTED: lambda: functions.jax_step(
            values, importlib.import_module("jax"), importlib.import_module("jax.numpy")
        ),
    }
    job = optimizers.CLIPPED
    clipped = {
        OURS: lambda: optimizer_step.born_step(job, job.arrays(0), job.arrays(1), _backend()),
        FUSED: lambda: optimizer_step.pytorch_step(
            job, job.arrays(0), job.arrays(1), "cpu", _torch(), {"fused": True}
        ),
    }
    title = f"a fused function of ten operations on {functions.ELEMENTS:,} elements, both ways"
    return [
        Row(f"training step {GPT}, exact GELU", gpt, {FUSED: 1.0}, 2e-3),
        Row(
            f"generation of {_TOKENS} tokens by it, batch 1, with a cache",
            generation,
            {EAGER: 2.0},
            0,
        ),
        Row(f"training step {CNN}", cnn, {FUSED: 1.0}, 2e-3),
        Row(f"training step {LSTM}", lstm, {FUSED: 1.0}, 2e-3),
        Row(f"training step {MLP}", mlp, {FUSED: 1.1}, None),
        Row(job.title, clipped, {FUSED: 1.5}, job.tolerance),
        Row(title, ten, {EAGER: 3.0, JITTED: 0.9}, 1e-4),
    ]


def _backend() -> Backend:
    return born.get_backend("auto" if _has_numba() else "numpy")


def _has_numba() -> bool:
    return bool(born.available_backends()["numba"])


def _torch() -> Any:
    torch = importlib.import_module("torch")
    torch.set_num_threads(machine.cores())
    return torch


def _pytorch_step(make: Callable[[Any], Any], weights: Any, batches: Any) -> Step:
    return models.pytorch_step(make, weights, batches, "cpu", _torch(), {"fused": True})


@dataclass(slots=True)
class Turns:
    """What a library's turns have shown.

    Attributes:
        seconds: of a step, in each turn.
        busy: seconds of processor time of a step, in each turn.
        first: the results of its first steps.
        peak: bytes that its process held at most.
    """

    seconds: list[float]
    busy: list[float]
    first: list[float]
    peak: float

    def extend(self, other: Turns) -> None:
        """Add those of another process."""
        self.seconds += other.seconds
        self.busy += other.busy
        self.peak = max(self.peak, other.peak)


def serve(number: int, name: str, asked: Any) -> None:
    """In a process of its own: answer how long so many steps take."""
    try:
        step = rows()[number].makers[name]()
        asked.send([float(_item(step)) for _ in range(_CHECKED)])
    except Exception as error:  # whatever keeps a library from taking part is said in the table
        asked.send(f"{type(error).__name__}: {error}")
        return
    for _ in range(_WARM):
        step()
    while (steps := asked.recv()) is not None:
        before = time.process_time()
        seconds = wall_time(step, steps) / steps
        asked.send((seconds, (time.process_time() - before) / steps, _peak()))


def _item(step: Step) -> float:
    outcome = step()
    return 0.0 if outcome is None else outcome.item()


def _peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def measured(number: int, row: Row, rounds: int) -> dict[str, Turns | str]:
    """Library -> its turns in several processes, or why it does not take part."""
    starts = min(_STARTS, rounds)
    found = _of_processes(number, row, rounds // starts)
    for start in range(1, starts):
        again = _of_processes(number, row, (rounds + start) // starts)
        for name, turns in again.items():
            earlier = found[name]
            if isinstance(earlier, Turns) and isinstance(turns, Turns):
                earlier.extend(turns)
            else:
                found[name] = earlier if isinstance(earlier, str) else turns
    return found


def _of_processes(number: int, row: Row, rounds: int) -> dict[str, Turns | str]:
    context = multiprocessing.get_context("spawn")
    found: dict[str, Turns | str] = {}
    pipes: dict[str, Any] = {}
    processes: list[Any] = []
    try:
        for name in row.makers:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(number, name, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes[name] = ours
            found[name] = _answer(ours)
        running = {name: each for name, each in found.items() if isinstance(each, Turns)}
        steps = {name: max(1, int(_TURN / _asked(pipes[name], 1)[0])) for name in running}
        for _ in range(rounds):
            for name in random.sample(list(running), len(running)):
                seconds, busy, peak = _asked(pipes[name], steps[name])
                running[name].seconds.append(seconds)
                running[name].busy.append(busy)
                running[name].peak = peak
    finally:
        for pipe in pipes.values():
            _let_go(pipe)
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.terminate()
    return found


def _answer(pipe: Any) -> Turns | str:
    try:
        first: list[float] | str = pipe.recv()
    except EOFError:
        return "its process ended"
    return first if isinstance(first, str) else Turns([], [], first, 0.0)


def _asked(pipe: Any, steps: int) -> tuple[float, float, float]:
    pipe.send(steps)
    answer: tuple[float, float, float] = pipe.recv()
    return answer


def _let_go(pipe: Any) -> None:
    try:
        pipe.send(None)
    except OSError:  # it has gone already
        return


def lines(row: Row, found: Mapping[str, Turns | str]) -> list[str]:
    """The lines of a table for a row: one for each other library."""
    ours = found[OURS]
    if isinstance(ours, str):
        return [f"| {row.title} | | {ours} | | | | |"]
    written: list[str] = []
    for name, least in row.asked.items():
        theirs = found[name]
        if isinstance(theirs, str):
            written.append(f"| {row.title} | {name} | {theirs} | | | | |")
            continue
        check(row, name, ours, theirs)
        fastest = min(ours.seconds), min(theirs.seconds)
        ratio = fastest[1] / fastest[0]
        turns = [their / own for own, their in zip(ours.seconds, theirs.seconds, strict=True)]
        spread = Spread.of(turns)
        busy = min(theirs.busy) / min(ours.busy)
        written.append(
            f"| {row.title} | {name} | {_milli(fastest[0])} / {_milli(fastest[1])} | "
            f"{ratio:.2f} ({spread.median:.2f}, {spread.low:.2f} to {spread.high:.2f}) | "
            f"{busy:.2f} | {least} | "
            f"{ours.peak / _MEGA:.0f} / {theirs.peak / _MEGA:.0f} |"
        )
    return written


def _milli(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def check(row: Row, name: str, ours: Turns, theirs: Turns) -> None:
    """Refuse to compare what does not compute the same."""
    if row.tolerance is None:
        return
    if not np.allclose(ours.first, theirs.first, rtol=row.tolerance, atol=row.tolerance):
        raise RuntimeError(
            f"expected the same results of {row.title}, got {ours.first} and of {name} "
            f"{theirs.first}; one of them computes something else"
        )


HEAD: Final = (
    "| what | against | ms, born / other | ratio | of CPU time | asked | peak MB, born / other |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def run(quick: bool, rounds: int | None) -> None:
    """Measure every row and print the table."""
    print(machine.described(machine.facts()), end="\n\n", flush=True)
    started = time.perf_counter()
    table = list(HEAD)
    for number, row in enumerate(rows()):
        print(f"measuring: {row.title} ...", file=sys.stderr, flush=True)
        found = measured(number, row, rounds or (_QUICK_ROUNDS if quick else _ROUNDS))
        table += lines(row, found)
    print("\n".join(table))
    print(f"\n{time.perf_counter() - started:.0f} s in all")
