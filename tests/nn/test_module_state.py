"""State dicts of modules: snapshots out, all or nothing in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import born
from born import nn
from born.autodiff import Autodiff
from born.backend import B, Backend
from born.errors import StateDictError
from born.raw import RawTensor


def make_model(backend: B) -> nn.Sequential[B]:
    return nn.Sequential(nn.Linear(3, 4, backend), nn.ReLU(), nn.Linear(4, 2, backend, bias=False))


def arrays(model: nn.Module[B]) -> dict[str, Any]:
    backend = model.parameters()[0].backend
    return {path: backend.to_numpy(raw) for path, raw in model.state_dict().items()}


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert list(left) == list(right)
    for path in left:
        np.testing.assert_array_equal(left[path], right[path])


def test_state_dict_is_a_snapshot(backend: Backend) -> None:
    model = make_model(backend)
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.weight"]
    assert model.check_state_dict(state) == []
    before = arrays(model)
    for parameter in model.parameters():
        backend.assign(parameter.raw, backend.zeros(parameter.shape, parameter.dtype))
    assert_same({path: backend.to_numpy(raw) for path, raw in state.items()}, before)
    assert not any(raw.requires_grad for raw in state.values())


def test_state_dict_and_load_are_not_recorded(autodiff: Autodiff[Backend]) -> None:
    model = make_model(autodiff)
    with autodiff.tape:
        model.load_state_dict(model.state_dict())
        assert len(autodiff.tape) == 0


@pytest.mark.parametrize("kind", ["raw", "tensor", "numpy", "other backend", "parameter"])
def test_load_takes_every_kind_of_value(backend: Backend, kind: str) -> None:
    source, target = make_model(backend), make_model(Autodiff(backend))
    raws = [parameter.raw for parameter in target.parameters()]
    other = born.get_backend("numpy")
    kinds: dict[str, dict[str, Any]] = {
        "raw": dict(source.state_dict()),
        "tensor": {path: p.tensor for path, p in source.named_parameters()},
        "numpy": arrays(source),
        "other backend": {path: born.tensor(a, other) for path, a in arrays(source).items()},
        "parameter": dict(source.named_parameters()),
    }
    target.load_state_dict(kinds[kind])
    assert_same(arrays(target), arrays(source))
    assert [parameter.raw for parameter in target.parameters()] == raws


def test_load_copies_into_the_buffers_that_exist(backend: Backend) -> None:
    model = make_model(backend)
    view = model.parameters()[0].tensor
    state = {path: np.full_like(a, 5) for path, a in arrays(model).items()}
    model.load_state_dict(state)
    before = arrays(model)
    for array in state.values():
        array[...] = -1.0
    assert_same(arrays(model), before)
    np.testing.assert_array_equal(view.numpy(), np.full((4, 3), 5.0))


def test_load_may_swap_the_parameters_of_the_model_itself(backend: Backend) -> None:
    model = nn.Sequential(*(nn.Linear(2, 2, backend, bias=False) for _ in range(2)))
    before = arrays(model)
    first, second = model.parameters()
    model.load_state_dict({"0.weight": second.raw, "1.weight": first.raw})
    assert_same(arrays(model), {"0.weight": before["1.weight"], "1.weight": before["0.weight"]})


def test_non_contiguous_arrays_load(backend: Backend) -> None:
    layer = nn.Linear(3, 4, backend, bias=False)
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    layer.load_state_dict({"weight": weight.T})
    np.testing.assert_array_equal(layer.weight.numpy(), weight.T)


def test_every_mismatch_is_listed_and_nothing_is_changed(backend: Backend) -> None:
    model = make_model(backend)
    before = arrays(model)
    state: dict[str, Any] = {
        "0.weight": np.zeros((3, 4), np.float64),
        "2.weight": [1.0, 2.0],
        "3.weight": np.zeros(1),
    }
    expected = [
        "'0.bias': missing, expected shape (4,) and dtype float32",
        "'3.weight': unexpected",
        "'0.weight': expected shape (4, 3), got (3, 4)",
        "'0.weight': expected dtype float32, got float64",
        "'2.weight': expected a RawTensor, Tensor or NumPy array, got list",
    ]
    assert model.check_state_dict(state) == expected
    with pytest.raises(StateDictError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert "fits Sequential, got 5 mismatches" in message
    assert all(line in message for line in expected)
    assert_same(arrays(model), before)


@pytest.mark.parametrize("path", ["0.weight", "0.bias", "2.weight"])
def test_one_wrong_entry_changes_no_other(backend: Backend, path: str) -> None:
    model = make_model(backend)
    before = arrays(model)
    state = {name: np.zeros_like(array) for name, array in before.items()}
    state[path] = state[path][..., :-1]
    with pytest.raises(StateDictError, match=f"{path}.*expected shape"):
        model.load_state_dict(state)
    assert_same(arrays(model), before)


def test_what_is_not_a_mapping_is_refused(backend: Backend) -> None:
    state: Any = [np.zeros((4, 3), np.float32)]
    with pytest.raises(StateDictError, match="expected a mapping from path to tensor, got list"):
        make_model(backend).load_state_dict(state)


def test_raw_tensor_of_an_unknown_library_is_refused(backend: Backend) -> None:
    class Foreign:
        shape, dtype = (1, 1), np.dtype(np.float32)

    layer = nn.Linear(1, 1, backend, bias=False)
    before = arrays(layer)
    with pytest.raises(StateDictError, match="hand over the Tensor, which knows its backend"):
        layer.load_state_dict({"weight": RawTensor(Foreign())})
    assert_same(arrays(layer), before)


def test_zero_length_and_zero_dimensional_parameters(backend: Backend) -> None:
    class Odd(nn.Module[B]):
        def __init__(self, backend: B) -> None:
            self.empty = nn.Parameter(born.zeros((0, 3), backend))
            self.scalar = nn.Parameter(born.zeros((), backend))

    module = Odd(backend)
    module.load_state_dict(
        {"empty": np.zeros((0, 3), np.float32), "scalar": np.array(2.5, np.float32)}
    )
    assert module.scalar.item() == 2.5
    assert module.state_dict()["empty"].shape == (0, 3)


def test_module_without_parameters_has_an_empty_state(backend: Backend) -> None:
    model: nn.Sequential[Backend] = nn.Sequential(nn.ReLU())
    assert model.state_dict() == {}
    model.load_state_dict({})
    assert model.check_state_dict({"x": np.zeros(1)}) == ["'x': unexpected"]
