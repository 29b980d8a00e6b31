"""What every test may ask for: a backend, and Autodiff over it."""

from __future__ import annotations

import gc
import importlib
import os
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import born
from born.autodiff import Autodiff
from born.backend import Backend

# Written to be wrong: tests/test_typing.py has type checkers read them, nothing runs them.
collect_ignore_glob = ["typing/*"]
if find_spec("mpmath") is None:  # only to record references again
    collect_ignore_glob += [
        f"optim/golden/{name}.py" for name in ("formulas", "libraries", "record")
    ]

# A deadline measures the machine, not the code. CI draws the same examples in every run, so
# that a red run can be repeated; a developer's runs keep searching.
settings.register_profile(
    "born",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("born")

# Numba leaves millions of objects alive, which Python's collector would go through again and again:
# a sixth of the time that it compiles for. Tests that count on the collector call it.
gc.set_threshold(50_000, 50, 50)


SLOW = (
    "tests/autodiff/test_batching.py",
    "tests/autodiff/test_memory.py",
    "tests/autodiff/test_programs.py",
    "tests/autodiff/test_tape.py",
    "tests/backend/test_arena.py",
    "tests/backend/test_threads.py",
    "tests/benchmarks",
    "tests/checkpoint/test_crashes.py",
    "tests/checkpoint/test_new_process.py",
    "tests/cupy",
    "tests/fusion/test_codecs.py",
    "tests/fusion/test_random_formulas.py",
    "tests/fusion/test_random_programs.py",
    "tests/fusion/test_stages.py",
    "tests/fusion/test_update.py",
    "tests/numba",
    "tests/operations/test_accuracy.py",
    "tests/operations/test_derivatives.py",
    "tests/operations/test_extremes.py",
    "tests/operations/test_table.py",
    "tests/test_command.py",
    "tests/optim/test_authors.py",
    "tests/optim/test_bits.py",
    "tests/optim/test_precision.py::test_digits_are_read_as_well",
    "tests/optim/test_precision.py::test_parameters_of_16_bits_train_as_well",
    "tests/optim/test_precision.py::test_state_in_one_byte_trains_as_well",
    "tests/optim/test_problems.py",
    "tests/optim/test_schedules.py::test_a_plot_draws",
    "tests/optim/test_solvers.py::test_gauss_newton_solves",
    "tests/optim/test_solvers.py::test_standard",
    "tests/test_examples.py",
    "tests/test_typing.py",
    "tests/test_wheel.py",
)
"""What `pytest -m fast` leaves out: other programs, compilers, threads, and whole training runs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose backends and forbid skipping for want of a tool."""
    parser.addoption(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="run the tests of the contract on this backend; may be repeated (default: numpy)",
    )
    parser.addoption(
        "--simulator",
        action="store_true",
        help="compute on the host what --backend cupy would on a device; needs g++, but no CuPy",
    )
    parser.addoption(
        "--require-tools",
        action="store_true",
        help="fail, instead of skipping, a test whose tool or package index cannot be reached",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Put the simulator for CuPy in its place, if that is asked for, before anything imports it."""
    if config.getoption("--simulator"):
        importlib.import_module("tests.simulator").install_for_good()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is fast: all not listed as slow. Refuse names that differ between processes."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(
                f"Expected a name without an address, got {item.nodeid}. Give ids=."
            )
        if not item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.fast)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a backend once on each of those chosen."""
    if "backend_name" in metafunc.fixturenames:
        names: list[str] = metafunc.config.getoption("--backend") or ["numpy"]
        metafunc.parametrize("backend_name", names, scope="session")


@pytest.fixture
def backend(backend_name: str) -> Backend:
    """A backend that computes and records nothing, new for each test."""
    return born.get_backend(backend_name)


@pytest.fixture
def cpu_backend(backend: Backend) -> Backend:
    """`backend`, in a test of what only NumPy's arrays can do; skipped where others are used."""
    if backend.zeros((), "float32").array.__class__ is not np.ndarray:
        pytest.skip("host arrays only")
    return backend


@pytest.fixture
def autodiff(backend: Backend) -> Autodiff[Backend]:
    """Autodiff over `backend`, with a tape of its own."""
    return Autodiff(backend)
