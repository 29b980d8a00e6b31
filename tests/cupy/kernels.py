"""Kernels of operations, launched on the host as the backend launches them on a device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.raw import HostArray, as_dtype
from born_cupy.launch import Launcher
from born_cupy.sources import Source
from born_cupy.sources.catalogue import every_source
from born_cupy.sources.faults import REPORT_LENGTH
from tests.simulator import host

FLOATING: Final = ("float32", "float64", "float16", "bfloat16")
INTEGRAL: Final = ("int32", "int64", "uint8", "bool")

PROCESSORS: Final = 1
"""Few, so that large arrays take a thread more than one turn."""


@functools.cache
def _build_all() -> None:
    """Compile every kernel in one run, which is many times faster than one after another."""
    host.build(every_source())


def _compiled(source: Source) -> Callable[..., None]:
    _build_all()

    def launch(blocks: int, threads: int, arguments: tuple[Any, ...], stream: None) -> None:
        host.launch(source, blocks, threads, arguments, order=blocks + threads)

    return launch


LAUNCHER: Final = Launcher(_compiled, PROCESSORS)
"""Launches on copies of the arrays between fences, blocks and threads in any order."""


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> HostArray:
    """Random numbers of a dtype, those of integers small enough to be added up in any."""
    generator = np.random.default_rng(seed)
    drawn = generator.uniform(-2.0, 2.0, shape)
    return (np.abs(drawn) * 3 if dtype in INTEGRAL else drawn).astype(as_dtype(dtype))


def report() -> HostArray:
    """An empty report of faults."""
    return np.zeros(REPORT_LENGTH, np.int64)
