"""Update kernels for the device, run on the host over tensors in its memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from born import optim
from born.dtypes import as_dtype
from born.fusion import Program
from born.raw import HostArray
from born_cupy.kernels import Source
from born_cupy.kernels.source import WORDS
from born_cupy.kernels.table import count_chunks
from born_cupy.kernels.update import CHUNK, update
from tests.fusion.kernels import Dtypes, traced
from tests.fusion.test_update import MIXED, RULES, STORED
from tests.optim.making import BASIC, class_for
from tests.simulator import host

THREADS = 32  # fewer than on the device, so that small tensors take more than one turn


def source_of(program: Program, dtypes: Dtypes) -> Source:
    """The kernel of a program."""
    return update(program, tuple(as_dtype(dtype) for dtype in dtypes))


def dtypes_of(config: optim.Config, stored: str) -> Dtypes:
    """The dtypes of a parameter, its gradient and its slots, by the names in `STORED`."""
    parameter, slot = STORED[stored]
    rule = class_for(config).rule(config)
    return (parameter, parameter, *[slot] * len(rule.slots))


def every_update() -> Iterator[Source]:
    """Every optimizer with every set of options and dtypes."""
    for config in BASIC:
        for stored in STORED:
            program = class_for(config).rule(config).program
            yield source_of(program, dtypes_of(config, stored))
    for rule in RULES:
        for dtypes in MIXED:
            program = traced(rule, ("a", "b"), "s")
            yield source_of(program, dtypes)


def run_on_host(
    program: Program,
    dtypes: Dtypes,
    tensors: Sequence[Sequence[HostArray]],
    scalars: Sequence[Mapping[str, float]],
    blocks: int = 7,
) -> None:
    """One update, in place, of some tensors, each (p, g, *slots).

    Args:
        program: what to run.
        dtypes: of each of the program's arrays.
        tensors: contiguous arrays; they are written to.
        scalars: one set for all tensors, or one for each.
        blocks: how many blocks share the chunks.
    """
    count, columns = len(tensors), len(dtypes)
    words = np.zeros((columns + 2) * count + count + 1, np.uint64)
    rows = words[: (columns + 2) * count].reshape(columns + 2, count)
    for column, every in enumerate(tensors):
        rows[:columns, column] = [array.ctypes.data for array in every]
        rows[columns, column] = every[0].size
        rows[columns + 1, column] = column if len(scalars) > 1 else 0
    count_chunks(rows[columns], CHUNK, words[(columns + 2) * count :])
    sets = [program.host(**each) for each in scalars]
    scalars_of = np.array([*sets, (0.0,) * len(sets[0])], np.float64).reshape(-1)
    whole = np.concatenate((words, scalars_of.view(np.uint64), np.zeros(WORDS, np.uint64)))
    near = whole[:WORDS].view([("at", np.uint64, (WORDS,))])
    is_near = words.size + scalars_of.size <= WORDS
    far = np.uint64(0 if is_near else whole.ctypes.data)
    arguments: list[Any] = [far, near, np.int64(count)]
    # Not between fences: the table's addresses are those of the arrays themselves.
    host.kernel_of(source_of(program, dtypes))(blocks, THREADS, arguments, order=1)
