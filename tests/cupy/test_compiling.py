"""Every kernel of an operation compiles for the devices that born is made for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.cupy import nvrtc
from tests.simulator import host
from tests.simulator.catalogue import every_source


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_every_source_compiles(architecture: str) -> None:
    nvrtc.library()  # or the test is skipped, here and not in a thread
    compiled = partial(nvrtc.compile, architecture=architecture)
    sources = list(every_source())
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(compiled, sources))
    assert len(codes) > 100
    assert all(code.startswith(b"\x7fELF") for code in codes)
    for source, code in zip(sources, codes, strict=True):
        assert nvrtc.registers(code) * host.most_threads(source) <= nvrtc.REGISTERS, source.name


def test_every_source_runs_on_the_host_too() -> None:
    sources = list(every_source())
    host.build(sources)
    assert all(host.kernel_of(source).parameters for source in sources)


def test_no_source_is_listed_twice() -> None:
    sources = list(every_source())
    assert len(set(sources)) == len(sources)


def test_a_source_is_written_once() -> None:
    assert all(one is other for one, other in zip(every_source(), every_source(), strict=True))
