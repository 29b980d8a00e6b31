"""Optimizer steps on the device: one launch, whatever the arrays are like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.errors import BackendMismatchError
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend
from tests.optim.making import CONFIGS, contents, make, parameter
from tests.simulator import CupyBackend

every_config = pytest.mark.parametrize("config", CONFIGS, ids=repr)
SHAPES = ((3, 5), (0, 2), (), (9000,), (1, 7))


def _values(seed: int) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape)).astype(np.float32) for shape in SHAPES]


def _made(config: optim.Config, backend: Any) -> optim.Optimizer[Any]:
    return make(config, [nn.Parameter(born.tensor(x, backend)) for x in _values(0)])


def _step(optimizer: optim.Optimizer[Any], seed: int, **options: Any) -> None:
    backend = optimizer.backend
    pairs = zip(optimizer.parameters, _values(seed), strict=True)
    optimizer.step({p.raw: backend.from_numpy(g) for p, g in pairs}, **options)


@every_config
@pytest.mark.parametrize("options", [{}, {"scale": 0.25}, {"scale": 3.0, "max_norm": 1.0}], ids=str)
def test_steps_have_the_bits_of_the_cpu(
    config: optim.Config, options: dict[str, float], backend: CupyBackend
) -> None:
    here, there = _made(config, NumpyBackend()), _made(config, backend)
    for seed in range(1, 4):
        _step(here, seed, **options)
        _step(there, seed, **options)
    # A norm is added up in another order than on the CPU, in double, and then rounded.
    for key, expected in contents(here).items():
        if isinstance(config, optim.MuonConfig):  # whose polynomial is in another form on the CPU
            np.testing.assert_allclose(contents(there)[key], expected, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_max_ulp(contents(there)[key], expected, maxulp=0)


def test_one_step_is_one_launch(backend: CupyBackend, launches: list[str]) -> None:
    optimizer = _made(optim.AdamConfig(), backend)
    launches.clear()
    _step(optimizer, 1)
    assert launches == ["update"]


@pytest.mark.parametrize(("tensors", "copies"), [(40, 0), (90, 1)])
@pytest.mark.parametrize("options", [{}, {"max_norm": 1.0}], ids=str)
def test_a_short_table_goes_with_the_launch(
    tensors: int,
    copies: int,
    options: dict[str, float],
    cupy: Any,
    backend: CupyBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results: list[list[HostArray]] = []
    sent: list[Any] = []
    asarray = cupy.asarray

    def noted(x: Any) -> Any:
        sent.append(x)
        return asarray(x)

    for own in (NumpyBackend(), backend):
        ps = [parameter(np.full(3, 0.1 * n), own) for n in range(tensors)]
        grads = {p.raw: own.from_numpy(p.numpy() - 0.7) for p in ps}
        optimizer = optim.Adam(ps, lr=0.1)
        if own is backend:
            monkeypatch.setattr(cupy, "asarray", noted)
        optimizer.step(grads, **options)
        results.append([p.numpy() for p in ps])
    if not options:
        assert len(sent) == copies
    np.testing.assert_array_equal(results[1], results[0])


@pytest.mark.parametrize("strange", ["parameter", "gradient", "both", "the gradient is a view"])
def test_arrays_that_are_not_contiguous_or_overlap(strange: str, backend: CupyBackend) -> None:
    values = _values(0)[0], _values(1)[0]
    config = optim.SGDConfig(lr=0.5, momentum=0.9)

    def on(where: Any) -> HostArray:
        p, g = (where.from_numpy(x) for x in values)
        if strange in ("parameter", "both"):
            p = RawTensor(where.from_numpy(values[0].T.copy()).array.T)
        if strange in ("gradient", "both"):
            g = RawTensor(where.from_numpy(values[1].T.copy()).array.T)
        if strange == "the gradient is a view":
            p = where.from_numpy(np.arange(9, dtype=np.float32).reshape(3, 3))
            g = RawTensor(p.array.T)
        held = nn.Parameter(born.Tensor(p, where))
        optimizer = optim.SGD([held], config)
        optimizer.step({held.raw: g})
        optimizer.step({held.raw: g})
        return held.numpy()

    assert on(backend).tobytes() == on(NumpyBackend()).tobytes()


def test_axes_of_one_element_make_no_copies(
    cupy: Any, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = optim.SGD([parameter([[1.0, 2.0]], backend)], optim.SGDConfig(lr=1.0))
    (p,) = optimizer.parameters
    turned = backend.from_numpy(np.array([[3.0], [4.0]], np.float32)).array.T
    assert turned.flags.c_contiguous
    assert turned.strides != p.raw.array.strides
    with monkeypatch.context() as patch:
        patch.setattr(cupy.ndarray, "copy", None)
        optimizer.step({p.raw: RawTensor(turned)})
    assert p.numpy().tolist() == [[-2.0, -2.0]]


def test_only_gradients_that_need_it_are_copied(
    cupy: Any, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = [nn.Parameter(born.tensor(x, backend)) for x in _values(0)]
    optimizer = optim.SGD(parameters, optim.SGDConfig(lr=1.0))
    gradients = [backend.from_numpy(g) for g in _values(1)]
    gradients[0] = RawTensor(backend.from_numpy(_values(1)[0].T.copy()).array.T)
    copied: list[Any] = []
    copy = cupy.ndarray.copy

    def noted(self: Any, *arguments: Any, **options: Any) -> Any:
        copied.append(self)
        return copy(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(cupy.ndarray, "copy", noted)
        optimizer.step({p.raw: g for p, g in zip(parameters, gradients, strict=True)})
    (strange,) = copied
    assert strange is gradients[0].array
    for p, before, g in zip(parameters, _values(0), _values(1), strict=True):
        np.testing.assert_array_equal(p.numpy(), before - g)


def test_parameters_that_join_late_have_counts_of_their_own(backend: CupyBackend) -> None:
    results: list[dict[str, HostArray]] = []
    for where in (NumpyBackend(), backend):
        optimizer = _made(optim.AdamConfig(lr=0.1), where)
        first, *rest = optimizer.parameters
        for parameters in ([first], [first, *rest], rest, [first, *rest]):
            values = {id(p): g for p, g in zip(optimizer.parameters, _values(3), strict=True)}
            optimizer.step({p.raw: where.from_numpy(values[id(p)]) for p in parameters})
        results.append(contents(optimizer))
    for key, expected in results[0].items():
        assert results[1][key].tobytes() == expected.tobytes(), key


def test_gradient_of_another_device_is_refused(cupy: Any, backend: CupyBackend) -> None:
    p = parameter([1.0, 2.0], backend)
    optimizer = optim.SGD([p], optim.SGDConfig())
    with pytest.raises(BackendMismatchError, match="expected a gradient on CupyBackend"):
        optimizer.step({p.raw: CupyBackend(device=1).from_numpy(np.ones(2, np.float32))})
