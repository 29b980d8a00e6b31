"""The state of optimizers: its names, its snapshots, and loading all of it or nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import optim
from born.autodiff import Autodiff
from born.backend import Backend
from born.errors import StateDictError
from born.raw import RawTensor
from tests.optim.cases import SLOTS
from tests.optim.making import (
    CONFIGS,
    Optimizer,
    assert_unchanged,
    class_for,
    contents,
    every_config,
    gradients,
    make,
    parameter,
    raw,
    step,
)

State = dict[str, Any]


def fresh(config: optim.Config, backend: Backend) -> Optimizer:
    return make(config, [parameter([[1.0, 2.0]], backend), parameter(3.0, backend)])


def used(config: optim.Config, backend: Backend, steps: int = 2) -> Optimizer:
    optimizer = fresh(config, backend)
    first, second = optimizer.parameters
    for number in range(steps):
        gradient = {first.raw: raw([[0.5, -1.0 - number]], backend)}
        optimizer.step(gradient if number else gradient | {second.raw: raw(2.0, backend)})
    return optimizer


def _optimizers(base: Any = optim.Optimizer) -> set[Any]:
    """Every optimizer that born defines, public or not."""
    below = base.__subclasses__()
    own = {each for each in below if each.__module__.startswith("born.") and each.__doc__}
    return own.union(*map(_optimizers, below))


def test_table_has_every_optimizer_and_every_config_that_born_defines() -> None:
    tabled = {class_for(config) for config in CONFIGS}
    assert tabled == _optimizers()
    assert {each.config_type for each in tabled} == {type(config) for config in CONFIGS}
    assert {each.config_type.__name__ for each in tabled} == {
        name for name in vars(optim) if name.endswith("Config")
    } - {"Config", "UpdateConfig"}


@pytest.mark.parametrize("options", [{}, {"scale": 0.5}], ids=repr)
@every_config
def test_deep_copy_goes_on_by_itself(config: Any, options: Any, backend: Backend) -> None:
    optimizer, twin = used(config, backend), used(config, backend)
    before = contents(optimizer)
    parameters, copied = copy.deepcopy((optimizer.parameters, optimizer))
    assert all(p is q for p, q in zip(parameters, copied.parameters, strict=True))
    for each in (copied, twin):
        each.step({each.parameters[0].raw: raw([[1.0, 2.0]], backend)}, **options)
    assert_unchanged(optimizer, before)
    assert_unchanged(copied, contents(twin))


ONE_NUMBER = {
    "ASGDConfig": ["rate"],
    "NovoGradConfig": ["v"],
    "ProdigyConfig": ["d", "numerator"],
    "ScheduleFreeSGDConfig": ["weights", "most"],
    "ScheduleFreeAdamWConfig": ["weights", "most"],
}
"""The slots that are one number for a parameter, or for all of them."""


STARTS = {
    "ADOPTConfig.v": -1.0,
    "AdanConfig.n": -1.0,
    "ASGDConfig.rate": -1.0,
    "NovoGradConfig.v": -1.0,
    "RpropConfig.size": -1.0,
    "YogiConfig.v": 1e-6,
}
"""What slots start with, if not with 0; where it is negative there was no update yet."""


@pytest.mark.parametrize(("config", "slots"), SLOTS.items(), ids=repr)
def test_state_is_flat_and_complete(config: Any, slots: list[str], backend: Backend) -> None:
    state = fresh(config, backend).state_dict()
    assert set(dict.fromkeys(key.partition(".")[0] for key in state)) == {*slots, "t"}
    for key, value in state.items():
        assert isinstance(value, RawTensor)
        slot, _, index = key.partition(".")
        shape: tuple[int, ...] = [(1, 2), ()][int(index)]
        if slot == "t":
            assert (value.shape, value.dtype.name, value.item()) == ((), "int64", 0)
        elif slot in ONE_NUMBER.get(type(config).__name__, ()):
            assert (value.shape, value.dtype.name) == ((), "float64")
        elif slot in ("row", "column"):
            shape = (1,) if slot == "row" else (2,)
            assert (value.shape, value.dtype.name) == (shape, "float32")
        else:
            assert (value.shape, value.dtype.name) == (shape, "float32")
        if slot not in ("origin", "d", "z"):  # which start with p, d0 and p
            start = STARTS.get(f"{type(config).__name__}.{slot}", 0.0)
            np.testing.assert_array_equal(backend.to_numpy(value), np.float32(start))


@every_config
def test_state_shares_no_memory(config: optim.Config, backend: Backend) -> None:
    optimizer, other = used(config, backend), fresh(config, backend)
    state = optimizer.state_dict()
    before = {key: backend.to_numpy(x).tobytes() for key, x in state.items()}
    other.load_state_dict(state)
    slopes = gradients(optimizer.parameters)
    optimizer.step(slopes)
    assert {key: backend.to_numpy(x).tobytes() for key, x in state.items()} == before
    live, loaded = contents(optimizer), contents(other)
    for value in (*state.values(), *slopes.values()):
        value.array[...] = 7
    assert_unchanged(optimizer, live)
    assert_unchanged(other, loaded)


FORMS: dict[str, Callable[[Any, str, Backend], Any]] = {
    "raw tensors": lambda x, key, backend: x,
    "tensors": lambda x, key, backend: born.Tensor(x, backend),
    "tensors elsewhere": lambda x, key, backend: born.tensor(
        backend.to_numpy(x), Autodiff(born.get_backend("numpy"))
    ),
    "arrays": lambda x, key, backend: backend.to_numpy(x),
    "arrays and integers": lambda x, key, backend: (
        int(x.item()) if key.startswith("t.") else backend.to_numpy(x)
    ),
    "views and NumPy integers": lambda x, key, backend: (
        np.int32(x.item())
        if key.startswith("t.")
        else np.stack([backend.to_numpy(x)] * 2, -1)[..., 0]
    ),
}


@every_config
@pytest.mark.parametrize("form", FORMS)
def test_loading_goes_on_from_there(config: optim.Config, form: str, backend: Backend) -> None:
    saved, loaded = used(config, backend), fresh(config, backend)
    buffers = {id(x.array) for x in _live(loaded)}
    state = saved.state_dict()
    loaded.load_state_dict({key: FORMS[form](x, key, backend) for key, x in state.items()})
    assert {id(x.array) for x in _live(loaded)} == buffers  # written into, not replaced
    for there, here in zip(saved.parameters, loaded.parameters, strict=True):
        backend.assign(here.raw, there.raw)
    assert_unchanged(loaded, contents(saved))
    for optimizer in (saved, loaded):
        step(optimizer)
    assert_unchanged(loaded, contents(saved))


def _live(optimizer: Optimizer) -> list[RawTensor]:
    return [buffer for buffers in optimizer._buffers for buffer in buffers]  # pyright: ignore[reportPrivateUsage]  # no public way leads to live state, as it should be


ADAM = optim.AdamConfig()


def _without(*keys: str) -> Callable[[State], State]:
    return lambda state: {key: x for key, x in state.items() if key not in keys}


def _with(**changes: Any) -> Callable[[State], State]:
    return lambda state: state | {key.replace("_", "."): x for key, x in changes.items()}


def listed(state: State) -> Any:
    return list(state)


REFUSED: list[tuple[Callable[[State], Any], list[str]]] = [
    (_without("m.0"), ["'m.0': missing, expected shape (1, 2) and dtype float32"]),
    (_without("m.1", "t.0"), ["'m.1': missing", "'t.0': missing, expected shape () and dtype int"]),
    (lambda state: {}, [f"'{slot}.{i}': missing" for slot in ("m", "v", "t") for i in range(2)]),
    (_with(velocity_0=np.zeros(2)), ["'velocity.0': unexpected"]),
    (_with(m_2=np.zeros(2)), ["'m.2': unexpected"]),
    (_with(m_0=np.zeros((2, 1), np.float32)), ["'m.0': expected shape (1, 2), got (2, 1)"]),
    (_with(m_1=np.zeros((1,), np.float32)), ["'m.1': expected shape (), got (1,)"]),
    (_with(v_0=np.zeros((1, 2))), ["'v.0': expected dtype float32, got float64"]),
    (_with(v_0=[[0.0, 0.0]]), ["'v.0': expected a RawTensor, Tensor or NumPy array, got list"]),
    (_with(t_0=np.zeros((), np.int32)), ["'t.0': expected dtype int64, got int32"]),
    (_with(t_0=np.zeros((1,), np.int64)), ["'t.0': expected shape (), got (1,)"]),
    (_with(t_0=1.0), ["'t.0': expected a RawTensor, Tensor or NumPy array, got float"]),
    (_with(t_0=True), ["'t.0': expected a RawTensor, Tensor or NumPy array, got bool"]),
    (_with(t_0=10**30), ["'t.0': expected a RawTensor, Tensor or NumPy array, got int"]),
    (_with(t_0=-1), ["'t.0': expected a number of updates, at least 0, got -1"]),
    (
        lambda state: _without("t.1")(
            _with(m_0=np.zeros(3), t_0=np.array(-5), extra=np.zeros(1))(state)
        ),
        [
            "'t.1': missing",
            "'extra': unexpected",
            "'m.0': expected shape (1, 2), got (3,)",
            "'m.0': expected dtype float32, got float64",
            "'t.0': expected a number of updates, at least 0, got -5",
        ],
    ),
    (listed, ["expected a mapping from name to array, got list"]),
]


@pytest.mark.parametrize(("change", "reasons"), REFUSED)
def test_state_that_does_not_fit_is_refused(
    change: Any, reasons: list[str], backend: Backend
) -> None:
    optimizer = used(ADAM, backend)
    before = contents(optimizer)
    state = change(dict(used(ADAM, backend, steps=3).state_dict()))
    assert change is listed or len(optimizer.check_state_dict(state)) == len(reasons)
    assert optimizer.check_state_dict(optimizer.state_dict()) == []
    with pytest.raises(StateDictError) as caught:
        optimizer.load_state_dict(state)
    message = str(caught.value)
    first_line = message.split("\n")[0]
    assert first_line.startswith(f"expected a state dict of this Adam, got {len(reasons)} mismatch")
    assert "make the optimizer with" in first_line
    for reason in reasons:
        assert reason in message
    assert_unchanged(optimizer, before)
