"""Rules of several stages on the device: few launches, and NumPy's bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from born import nn, optim
from born.backend import Backend
from born.dtypes import as_dtype
from born.fusion import Program
from born.optim.clipping import scaled
from born.raw import RawTensor
from born_cupy.kernels import Source
from born_cupy.kernels.stages import group_kernels, stage_kernels
from born_numpy import NumpyBackend
from tests.cupy import nvrtc
from tests.fusion.kernels import assert_same_bits
from tests.fusion.test_stages import RULES, Config, optimizer_of, trained
from tests.optim.making import CONFIGS, class_for, parameter, raw
from tests.simulator import host

# Few rows: the simulator takes its time wherever a block's threads wait for each other.
SHAPES = {
    "lamb": [(3, 5), (7,), (), (300, 70), (40_000,), (0, 4)],
    "adafactor": [(3, 5), (7,), (2, 3, 4), (40, 300), (65, 1), (3, 9_000), (4, 0)],
    "muon": [(3, 5), (70, 30), (2, 3, 4), (0, 4)],
    "everything": [(3, 5), (7,), (2, 3, 4), (40, 300), (65, 1), (0, 4), (4, 0)],
}
OTHERS = [(3, 5), (7,), (), (40_000,), (0, 4)]


@pytest.fixture
def device(cupy: Any) -> Backend:
    """The backend, on the simulated device."""
    from born_cupy import CupyBackend

    return CupyBackend()


def _program(function: Any, ndim: int, clips: bool = False) -> Program:
    rule = optimizer_of(function).rule(Config())
    return (scaled(rule, "number", clips=True, wide=False) if clips else rule).program_for(ndim)


def _sources(programs: Sequence[tuple[Program, Sequence[str]]]) -> Iterator[Source]:
    for program, dtypes in programs:
        if program.staged:
            yield from stage_kernels(program, tuple(map(as_dtype, dtypes))).sources
        if program.group is not None:
            yield from (source for source in group_kernels(program.group).rounds if source)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Most kernels in one run of the compiler, which is slow to start."""
    programs: list[tuple[Program, Sequence[str]]] = []
    for name, function in RULES.items():
        for ndim in {len(tuple(shape)) for shape in SHAPES.get(name, OTHERS)}:
            for clips in (False, True):
                program = _program(function, ndim, clips)
                kinds = [program.rank(i) for i in range(len(program.arrays))]
                wide = ("tensor", "group")
                for dtype, slot in (("float32", "float32"), ("bfloat16", "float32")):
                    dtypes = [dtype, dtype]
                    dtypes += ["float64" if kind in wide else slot for kind in kinds[2:]]
                    programs.append((program, dtypes))
    host.build(_sources(programs))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("options", [{}, {"scale": 0.5, "max_norm": 0.7}], ids=["", "clipped"])
def test_stages_have_the_bits_of_numpy(
    name: str, dtype: str, options: dict[str, Any], device: Backend
) -> None:
    shapes = SHAPES.get(name, OTHERS)
    special = name in ("finite_only", "sign_of_momentum")
    expected, got = (
        trained(RULES[name], shapes, dtype, backend, 2, special, **options)
        for backend in (NumpyBackend(), device)
    )
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        if name == "muon" and dtype == "float32":  # whose polynomial is in another form on the CPU
            np.testing.assert_allclose(got[key], array, rtol=1e-5, atol=1e-6, err_msg=key)
        else:
            assert_same_bits(got[key], array, f"{name} {key}")


@pytest.mark.parametrize("name", ["spectral", "schatten", "aol"])
def test_preconditionings_are_numpys(name: str, device: Backend) -> None:
    results: list[list[Any]] = []
    for backend in (NumpyBackend(), device):
        ps = [parameter(np.ones(shape), backend, dtype="float64") for shape in ((3, 5), (6, 4))]
        config = optim.MuonConfig(lr=0.1, preconditioning=name, eps=1e-3, eps_added=True)  # type: ignore[arg-type]  # of a list
        optimizer = optim.Muon(ps, config)
        for t in range(2):
            gs = [np.sin(np.arange(p.size) * 1.7 + t + 1).reshape(p.shape) for p in ps]
            grads = [raw(g, backend, "float64") for g in gs]
            optimizer.step({p.raw: g for p, g in zip(ps, grads, strict=True)})
        results.append([p.numpy() for p in ps])
    for expected, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11)  # sums are added up in another order


def test_a_clipped_step_takes_few_launches_for_all_tensors(
    device: Backend, launches: list[str]
) -> None:
    parameters = [parameter(np.ones(shape), device) for shape in ((3, 5), (7,), (40_000,))]
    optimizer = optim.Adam(parameters, lr=0.1)
    grads = {p.raw: raw(np.ones(p.shape), device) for p in parameters}
    for _ in range(2):
        launches.clear()
        optimizer.step(grads, max_norm=1.0)
    assert launches == ["pass_1", "end_1", "totals", "group_2", "pass_2"]
    np.testing.assert_allclose(parameters[0].numpy(), 0.8, rtol=1e-6)


def test_a_rule_with_norms_takes_three_launches(device: Backend, launches: list[str]) -> None:
    parameters = [parameter(np.ones(shape), device) for shape in ((3, 5), (7,), (300, 70))]
    optimizer = optim.LAMB(parameters, lr=0.1)
    launches.clear()
    optimizer.step({p.raw: raw(np.ones(p.shape), device) for p in parameters})
    assert launches == ["pass_1", "between_2", "pass_2"]


@pytest.mark.parametrize("name", ["lamb", "adafactor"])
def test_views_and_gradients_in_a_parameters_memory(name: str, device: Backend) -> None:
    results: list[Any] = []
    for backend in (NumpyBackend(), device):
        xp: Any = backend.zeros((1,), "float32").array
        numbers = np.linspace(-1, 1, 7 * 12).reshape(7, 12).astype(np.float32)
        whole = backend.from_numpy(numbers).array
        assert type(whole) is type(xp)
        p = nn.Parameter(_tensor(RawTensor(whole[:, ::2]), backend))
        optimizer = optimizer_of(RULES[name])([p], Config())
        slope = backend.from_numpy(numbers.T.copy()).array.T[:, 1::2]
        for _ in range(2):
            optimizer.step({p.raw: RawTensor(slope)})
        results.append(p.numpy())
    assert_same_bits(results[1], results[0], name)


def _tensor(x: RawTensor, backend: Backend) -> Any:
    from born import Tensor

    return Tensor(x, backend)


def test_some_tensors_join_late(device: Backend) -> None:
    results: list[list[Any]] = []
    for backend in (NumpyBackend(), device):
        ps = [parameter(np.ones(shape), backend) for shape in ((3, 5), (7,), (4, 2))]
        optimizer = optim.LAMB(ps, lr=0.1)
        for step in range(4):
            chosen = ps if step > 1 else ps[::2]
            grads = {p.raw: raw(np.full(p.shape, step - 1.5), backend) for p in chosen}
            optimizer.step(grads, max_norm=0.5)
        results.append([p.numpy() for p in ps])
    for got, expected in zip(results[1], results[0], strict=True):
        assert_same_bits(got, expected, "late")


@pytest.mark.parametrize(
    ("preconditioning", "added"),
    [
        ("frobenius", False),
        ("frobenius", True),
        ("spectral", True),
        ("schatten", False),
        ("aol", False),
    ],
)
def test_matrices_of_one_shape_are_multiplied_together(
    preconditioning: Any,
    added: bool,
    device: Backend,
    launches: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from born_cupy import staged

    monkeypatch.setattr(staged, "_STACK", 3 * 40 * 24 * 4)
    shapes = [(40, 24), (5, 7), (40, 24), (2, 5, 7), (40, 24), (5, 7), (40, 24), (0, 4)]
    results: list[list[Any]] = []
    for backend in (NumpyBackend(), device):
        rng = np.random.default_rng(0)
        ps = [parameter(rng.normal(size=shape), backend) for shape in shapes]
        other = optim.Group(ps[:1], lr=0.01, eps=3.0, coefficients=(1.5, -0.5, 0.1))
        options: Any = {"preconditioning": preconditioning, "eps_added": added}
        optimizer = optim.Muon(ps, lr=0.1, kernels="flat", groups=[other], **options)
        for step in range(2):
            chosen = ps if step else ps[1:]
            grads = {p.raw: raw(rng.normal(size=p.shape), backend) for p in chosen}
            launches.clear()
            optimizer.step(grads, max_norm=2.0)
        results.append([p.numpy() for p in ps])
    # Two stacks of (40, 24), and one each of (5, 7) and (2, 35).
    squares = sum(name.startswith("squares") for name in launches)
    assert squares == (4 if preconditioning in ("frobenius", "schatten") else 0)
    assert sum(name.startswith("advanced") for name in launches) == 4 * 5
    for got, expected in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


# -- for the device ----------------------------------------------------------------------------


def _every_program() -> dict[tuple[Program, tuple[str, ...]], None]:
    """The programs of every optimizer, for vectors and matrices, clipped and not."""
    found: dict[tuple[Program, tuple[str, ...]], None] = {}
    for config in CONFIGS:
        for ndim in (1, 2):
            shape = (2,) * ndim
            p = parameter(np.ones(shape), NumpyBackend(), "p")
            rule = class_for(config).rule_for(config, p)
            if ndim < rule.program.least_ndim:  # a matrix function
                continue
            for each in (rule, scaled(rule, "tensor", clips=True, wide=False)):
                program = each.program_for(ndim)
                dtypes = [each.slot_dtype(slot, p.dtype).name for slot in each.own_slots]
                found[program, ("float32", "float32", *dtypes)] = None
    return found


def test_every_optimizer_is_compiled() -> None:
    assert {class_for(config).__name__ for config in CONFIGS} == {
        type(optim.create(name, [parameter(np.ones((2, 2)), NumpyBackend())], lr=0.1)).__name__
        for name in optim.names()
    }


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_every_optimizer_compiles_for_the_device(architecture: str) -> None:
    from born_cupy.kernels.update import update

    programs = _every_program()
    sources = set(_sources(list(programs)))
    sources |= {
        update(program, tuple(map(as_dtype, dtypes)))
        for program, dtypes in programs
        if not program.staged
    }
    for source in sources:
        assert nvrtc.compile(source, architecture), source.text
