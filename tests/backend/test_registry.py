"""Finding backends: by name, by what is installed, and why one cannot be used."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import pytest

import born
from born.backend import Availability, Backend
from born.errors import BackendUnavailableError, BornError
from born_numpy import NumpyBackend


class ThirdParty(NumpyBackend):
    """A backend of another package."""


class WithoutDevice(NumpyBackend):
    """A backend that is installed, on a machine it cannot use."""

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return "no device answers; plug one in"


class Installed:
    def __init__(self, name: str, load: Callable[[], type[Backend]]) -> None:
        self.name = name
        self.load = load


def broken() -> type[Backend]:
    raise ImportError("libnothing.so is missing")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that the backends given, and NumPy's, are what is installed."""

    def only(**backends: Callable[[], type[Backend]]) -> None:
        entries = [Installed(name, load) for name, load in backends.items()]
        entries.append(Installed("numpy", lambda: NumpyBackend))

        def entry_points(*, group: str) -> list[Installed]:
            assert group == "born.backends"
            return entries

        monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    return only


def test_numpy_is_found_through_its_entry_point() -> None:
    backend = born.get_backend("numpy", seed=1)
    assert type(backend) is NumpyBackend
    assert backend.name == "numpy"
    assert backend.innermost is backend
    assert repr(backend) == "NumpyBackend()"
    assert backend.random_state == NumpyBackend(seed=1).random_state


def test_available_backends_say_why_not() -> None:
    found = born.available_backends()
    assert found["numpy"] == Availability(True)
    assert {"cupy", "numba", "numpy"} <= set(found)
    assert list(found) == sorted(found)
    for name, availability in found.items():
        assert bool(availability) is availability.usable
        assert bool(availability) is (availability.reason == ""), name


@pytest.mark.parametrize("name", ["tpu", "", "Numpy", 3])
def test_unknown_name(name: Any) -> None:
    message = r"^expected a usable backend, got .*no package provides it; installed are .*numpy"
    with pytest.raises(BackendUnavailableError, match=message) as caught:
        born.get_backend(name)
    assert isinstance(caught.value, BornError)
    assert isinstance(caught.value, RuntimeError)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["cupy", "numba"])
def test_known_backend_that_is_not_installed(name: str, install: Callable[..., None]) -> None:
    install()
    with pytest.raises(BackendUnavailableError, match=f"got '{name}': no .*; installed are numpy"):
        born.get_backend(name)
    assert list(born.available_backends()) == ["numpy"]


def test_backend_without_its_device(install: Callable[..., None]) -> None:
    install(cupy=lambda: WithoutDevice)
    message = r"^expected a usable backend, got 'cupy': no device answers; plug one in$"
    with pytest.raises(BackendUnavailableError, match=message):
        born.get_backend("cupy")
    assert born.available_backends()["cupy"].reason == "no device answers; plug one in"
    assert type(born.get_backend("auto")) is NumpyBackend


def test_cupy_without_a_gpu_is_refused_here_too() -> None:
    if born.available_backends()["cupy"]:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailableError, match=r"expected a usable backend, got 'cupy': "):
        born.get_backend("cupy")


def test_package_that_does_not_import(install: Callable[..., None]) -> None:
    install(numba=broken)
    with pytest.raises(BackendUnavailableError, match=r"libnothing\.so is missing\); reinstall it"):
        born.get_backend("numba")
    assert type(born.get_backend()) is NumpyBackend


def test_auto_takes_the_fastest_that_can_be_used(install: Callable[..., None]) -> None:
    install(numba=lambda: ThirdParty, cupy=lambda: WithoutDevice, abacus=lambda: ThirdParty)
    assert type(born.get_backend()) is ThirdParty
    install(numba=lambda: NumpyBackend, cupy=lambda: ThirdParty)
    assert type(born.get_backend("auto")) is ThirdParty
    install(abacus=lambda: ThirdParty)
    assert type(born.get_backend("auto")) is NumpyBackend
    assert born.available_backends()["abacus"]
    assert type(born.get_backend("abacus", seed=3)) is ThirdParty
