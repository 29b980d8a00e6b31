"""Optimizers follow the trajectories of their references: PyTorch's, recorded and live."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import born
from born import nn, optim
from born.backend import Backend
from tests.optim.cases import OPTIONS, RECORDED, REFERENCES, STEPS, Options, gradient, start
from tests.optim.record_pytorch import Trajectory, flat, run_pytorch

Recorded = dict[str, npt.NDArray[Any]]

# Both libraries round each of about fifteen operations a step differently: 100 steps drift
# apart by some 1e-15 of the values, which lie between 1 and 4. A wrong formula, or a scalar
# rounded to float32 on its way, differs by 1e-9 or more.
RELATIVE = 1e-12

CASES = [(name, number) for name, every in OPTIONS.items() for number in range(len(every))]


def run_born(name: str, options: Options, backend: Backend) -> Trajectory:
    """The parameters after each step of a born optimizer in float64."""
    parameters = [nn.Parameter(born.tensor(p, backend)) for p in start()]
    config = getattr(optim, f"{name}Config")(**options)
    optimizer: optim.Optimizer[Backend] = getattr(optim, name)(parameters, config)
    rows: list[Trajectory] = []
    for _ in range(STEPS):
        # On the host: a device's sine may differ in the last place, and Adam, whose first steps
        # are signs, would make much of it. This is about the optimizer.
        wanted = [np.asarray(gradient(p.numpy(), i, np.sin)) for i, p in enumerate(parameters)]
        optimizer.step(
            {p.raw: backend.from_numpy(g) for p, g in zip(parameters, wanted, strict=True)}
        )
        rows.append(flat([p.numpy() for p in parameters]))
    return np.stack(rows)


def run_reference(name: str, options: Options) -> Trajectory:
    """The parameters after each step of a formula in NumPy."""
    parameters: list[Any] = list(start())
    states: list[dict[str, Any]] = [{} for _ in parameters]
    rows: list[Trajectory] = []
    for t in range(1, STEPS + 1):
        for i, p in enumerate(parameters):
            g = gradient(p, i, np.sin)
            parameters[i] = np.asarray(REFERENCES[name](p, g, states[i], t, **options))
        rows.append(flat(parameters))
    return np.stack(rows)


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    with np.load(RECORDED) as file:
        return dict(file)


def test_recording_is_of_the_pinned_pytorch_and_of_every_case(recorded: Recorded) -> None:
    assert str(recorded["torch_version"]).split("+")[0] == "2.13.0"
    assert set(OPTIONS) == (set(recorded) - {"torch_version"}) | set(REFERENCES)
    for name, every in OPTIONS.items():
        if name in recorded:
            assert recorded[name].shape[:2] == (len(every), STEPS)


def test_cases_vary_every_option_of_every_config() -> None:
    for name, every in OPTIONS.items():
        fields = set(getattr(optim, f"{name}Config")().to_json()) - {"type"}
        # PyTorch keeps its state in the parameter's dtype; tests/fusion covers other ones.
        fields = {field for field in fields if not field.endswith("_dtype")}
        assert {field for options in every for field in options} == fields
        for field in fields:
            assert len({options[field] for options in every}) > 1, field


@pytest.mark.parametrize(("name", "number"), CASES)
def test_follows_its_reference(
    name: str, number: int, recorded: Recorded, backend: Backend
) -> None:
    ours = run_born(name, OPTIONS[name][number], backend)
    if name in REFERENCES:
        reference = run_reference(name, OPTIONS[name][number])
        np.testing.assert_allclose(ours, reference, rtol=RELATIVE, atol=0)
    if name in recorded:
        np.testing.assert_allclose(ours, recorded[name][number], rtol=RELATIVE, atol=0)


@pytest.mark.parametrize(("name", "number"), CASES)
def test_follows_pytorch_live(
    name: str, number: int, recorded: dict[str, npt.NDArray[Any]], backend: Backend
) -> None:
    pytest.importorskip("torch", reason='torch is not installed; run: pip install -e ".[parity]"')
    if name not in recorded:
        pytest.skip(f"PyTorch does not have {name}")
    options = OPTIONS[name][number]
    ours = run_born(name, options, backend)
    np.testing.assert_allclose(ours, run_pytorch(name, options), rtol=RELATIVE, atol=0)
