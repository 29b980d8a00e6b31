"""What tests of the device's kernels and of its backend need, where there is no device."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests import simulator
from tests.cupy import nvrtc
from tests.simulator import CupyBackend, host


@pytest.fixture(scope="session", autouse=True)
def tools(pytestconfig: pytest.Config) -> None:
    """Tests skip where a compiler is missing, unless that is forbidden."""
    if pytestconfig.getoption("--require-tools"):
        assert host.compiler() is not None, host.NEEDS_COMPILER
        assert nvrtc.installed(), nvrtc.NEEDS_NVRTC


@pytest.fixture
def cupy() -> Iterator[Any]:
    """The simulator, in the place of the package."""
    if host.compiler() is None:
        pytest.skip(host.NEEDS_COMPILER)
    with simulator.installed():
        yield sys.modules["cupy"]


@pytest.fixture
def backend(cupy: Any) -> CupyBackend:
    """A backend over the simulator."""
    return CupyBackend()


@pytest.fixture
def launches(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels launched, in order."""
    from born_cupy.compiler import Kernel

    names: list[str] = []
    launch = Kernel.__call__

    def noted(self: Kernel, *arguments: Any) -> None:
        names.append(self.source.name)
        launch(self, *arguments)

    monkeypatch.setattr(Kernel, "__call__", noted)
    return names
