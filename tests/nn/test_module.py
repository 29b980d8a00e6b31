"""`Module`: what lies in its fields is found, named, switched and shown, without ceremony."""

# Tables hold functions of whatever a test hands them.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import itertools
from collections import UserList, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import born
from born import nn
from born.autodiff import Autodiff, backward
from born.backend import B, Backend
from born.errors import ParameterError
from born.tensor import Tensor


def vector(backend: B) -> nn.Parameter[B]:
    return nn.Parameter(born.ones((2,), backend))


class Tower(nn.Module[B]):
    """Parameters and layers in every kind of field."""

    def __init__(self, backend: B) -> None:
        self.scale = vector(backend)
        self.blocks = [nn.Linear(2, 2, backend), nn.Linear(2, 2, backend, bias=False)]
        self.head = nn.Linear(2, 1, backend)
        self.more = {"left": vector(backend), "right": (vector(backend), nn.ReLU())}
        self.dropout = nn.Dropout(0.25)
        self.constant = born.ones((2,), backend)
        self.note = "no parameter"

    def forward(self, x: Tensor[B], twice: bool = False) -> tuple[Tensor[B], Tensor[B]]:
        for block in self.blocks:
            x = block(x)
        return x * self.scale, self.head(x) * (2.0 if twice else 1.0)


@dataclass
class Scaled(nn.Module[B]):
    inner: nn.Linear[B]
    gain: nn.Parameter[B]
    power: int = 2
    more: tuple[nn.Parameter[B], ...] = ()

    def forward(self, x: Tensor[B]) -> Tensor[B]:
        return self.inner(x) * self.gain**self.power


@dataclass(frozen=True, slots=True)
class Frozen(nn.Module[B]):
    """A module whose fields cannot be set and lie in slots."""

    weight: nn.Parameter[B]
    dropout: nn.Dropout

    def forward(self, x: Tensor[B]) -> Tensor[B]:
        return self.dropout(x * self.weight)


def paths(module: nn.Module[B]) -> list[str]:
    return [path for path, _ in module.named_parameters()]


TOWER_PATHS = [
    "scale",
    "blocks.0.weight",
    "blocks.0.bias",
    "blocks.1.weight",
    "head.weight",
    "head.bias",
    "more.left",
    "more.right.0",
]


def test_parameters_and_modules_are_found_in_field_order(backend: Backend) -> None:
    tower = Tower(backend)
    assert paths(tower) == TOWER_PATHS
    assert [p.raw for p in tower.parameters()] == [p.raw for _, p in tower.named_parameters()]
    found = dict(tower.named_modules())
    assert list(found) == ["", "blocks.0", "blocks.1", "head", "more.right.1", "dropout"]
    assert found[""] is tower


def test_dataclass_is_a_module(autodiff: Autodiff[Backend]) -> None:
    module = Scaled(nn.Linear(2, 2, autodiff), vector(autodiff), more=(vector(autodiff),))
    assert paths(module) == ["inner.weight", "inner.bias", "gain", "more.0"]
    with autodiff.tape:
        loss = module(born.ones((3, 2), autodiff)).sum()
    assert len(backward(loss)) == 3
    assert module.eval().inner.training is False


def test_frozen_dataclass_with_slots_is_a_module(backend: Backend) -> None:
    module = Frozen(vector(backend), nn.Dropout(0.5))
    assert paths(module) == ["weight"]
    x = born.ones((4, 2), backend)
    np.testing.assert_array_equal(module.eval()(x).numpy(), x.numpy())
    assert module.training is False
    twin: Any = module.to(Autodiff(backend))
    assert twin.weight.backend is not backend
    assert twin.training is twin.dropout.training is False


def test_call_hands_every_argument_to_forward(backend: Backend) -> None:
    tower = Tower(backend)
    x = born.ones((1, 2), backend)
    once, twice = tower(x)[1], tower(x, twice=True)[1]
    np.testing.assert_array_equal(twice.numpy(), 2.0 * once.numpy())


def test_tied_parameter_is_listed_once_at_its_first_path(backend: Backend) -> None:
    first, second = nn.Linear(2, 2, backend), nn.Linear(2, 2, backend)
    model = nn.Sequential(first, second)
    # The same storage behind another Parameter object is the same parameter.
    for second.weight in (first.weight, nn.Parameter(first.weight.tensor)):
        assert paths(model) == list(model.state_dict()) == ["0.weight", "0.bias", "1.bias"]


def test_gradients_of_tied_parameters_add_up(autodiff: Autodiff[Backend]) -> None:
    shared = nn.Linear(2, 2, autodiff, bias=False)
    model = nn.Sequential(shared, shared)
    shared.load_state_dict({"weight": np.eye(2, dtype=np.float32)})
    with autodiff.tape:
        loss = model(born.ones((1, 2), autodiff)).sum()
    (parameter,) = model.parameters()
    gradient = autodiff.to_numpy(backward(loss)[parameter])
    np.testing.assert_array_equal(gradient, np.full((2, 2), 2.0))


def test_circle_of_modules_ends(backend: Backend) -> None:
    class Child(nn.Module[B]):
        def __init__(self, parent: nn.Module[B]) -> None:
            self.parent = parent

    class Parent(nn.Module[B]):
        def __init__(self, backend: B) -> None:
            self.weight = vector(backend)
            self.child = Child(self)

    parent = Parent(backend)
    assert paths(parent) == ["weight"]
    assert paths(parent.child) == ["parent.weight"]
    assert "parent=..." in repr(parent)


def test_empty_name_is_filled_with_the_path_and_a_given_one_is_kept(backend: Backend) -> None:
    layer = nn.Linear(2, 2, backend)
    layer.weight.name = "mixing matrix"
    assert layer.bias is not None
    assert layer.bias.name == ""
    assert [p.name for p in nn.Sequential(layer).parameters()] == ["mixing matrix", "0.bias"]
    assert layer.bias.name == "0.bias"


def test_two_parameters_at_one_path_are_refused(backend: Backend) -> None:
    class Ambiguous(nn.Module[B]):
        def __init__(self, backend: B) -> None:
            self.table: dict[str, Any] = {"a.b": vector(backend), "a": {"b": vector(backend)}}

    with pytest.raises(ParameterError, match=r"got two at 'table\.a\.b'; rename"):
        Ambiguous(backend).parameters()


class Holder(nn.Module[B]):
    def __init__(self, held: Any) -> None:
        self.held = held


def _object_array(*values: object) -> Any:
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def _circle(part: object) -> list[Any]:
    circle = [part]
    circle.append(circle)
    return circle


UNSEARCHED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "set": (lambda p: {p}, "a set at 'held'"),
    "frozenset": (lambda p: frozenset([p]), "a frozenset at 'held'"),
    "deque": (lambda p: deque([p]), "a deque at 'held'"),
    "UserList": (lambda p: UserList([p]), "a UserList at 'held'"),
    "dict values": (lambda p: {"a": p}.values(), "a dict_values at 'held'"),
    "dict items": (lambda p: {"a": p}.items(), "a dict_items at 'held'"),
    "dict keys": (lambda p: {p: "a"}.keys(), "a dict_keys at 'held'"),
    "keys of a dict": (lambda p: {p: "a"}, "keys of a mapping.*at 'held'"),
    "object array": (_object_array, "an object array at 'held'"),
    "deque in a list": (lambda p: [1, deque([p])], r"a deque at 'held\.1'"),
    "dict in a deque": (lambda p: deque([{"a": [p]}]), "a deque at 'held'"),
    "generator": (lambda p: (q for q in [p]), "a generator, .* at 'held'"),
    "list iterator": (lambda p: iter([p]), "a list_iterator, .* at 'held'"),
    "map": (lambda p: map(id, [p]), "a map, .* at 'held'"),
    "zip": (lambda p: zip([p], strict=True), "a zip, .* at 'held'"),
    "chain": (lambda p: itertools.chain([p]), "a chain, .* at 'held'"),
    "circle": (_circle, r"a container that contains itself at 'held\.1'"),
}


@pytest.mark.parametrize("kind", UNSEARCHED)
@pytest.mark.parametrize("part", ["parameter", "layer"])
def test_parts_where_they_are_not_searched_for_are_refused(
    kind: str, part: str, backend: Backend
) -> None:
    make, message = UNSEARCHED[kind]
    module = Holder[Backend](make(vector(backend) if part == "parameter" else nn.ReLU()))
    for use in (module.parameters, module.state_dict, module.train, module.zero_grad):
        with pytest.raises(ParameterError, match=f"got {message}; make (it|them|a copy)"):
            use()


@pytest.mark.parametrize(
    "held",
    [
        {1, 2},
        deque([1]),
        {"a": 1}.values(),
        np.array([None, "x"], object),
        np.ones(2),
        range(3),
        itertools.count(),
        "text",
        b"bytes",
    ],
    ids=repr,
)
def test_containers_of_other_things_are_left_alone(held: Any) -> None:
    module = Holder[Backend](held)
    assert module.parameters() == []
    assert module.train().held is held


def test_constants_in_a_deque_move_with_their_module(backend: Backend) -> None:
    target = Autodiff(backend)
    moved = Holder[Backend](deque([born.ones((2,), backend)])).to(target)
    assert moved.held[0].backend is target


@dataclass(slots=True)
class Slotted(nn.Module[B]):
    weight: Any


@pytest.mark.parametrize("kind", [Holder, Slotted])
@pytest.mark.parametrize(
    "change",
    [
        lambda p: p * 0.5,
        lambda p: p.detach(),
        lambda p: p.tensor,
        lambda p: p.numpy(),
        lambda p: [p],
        lambda p: 0.5,
    ],
)
def test_a_parameter_is_not_dropped_by_setting_its_field(
    kind: Any, change: Callable[[Any], Any], backend: Backend
) -> None:
    first, second = vector(backend), vector(backend)
    module = kind(first)
    (name,) = (name for name, _ in module.named_fields())
    with pytest.raises(
        ParameterError,
        match=f"a Parameter in the field '{name}' of {kind.__name__}.*module.{name}.assign",
    ):
        setattr(module, name, change(first))
    assert module.parameters() == [first]
    setattr(module, name, second)
    assert module.parameters() == [second]
    setattr(module, name, None)
    setattr(module, name, first.tensor)
    assert module.parameters() == []


def test_scaling_in_place_is_refused(backend: Backend) -> None:
    layer = nn.Linear(2, 2, backend)
    weight = layer.weight
    with pytest.raises(ParameterError, match="got Tensor, which is neither trained nor saved"):
        layer.weight *= 0.5  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]  # what is refused
    assert layer.weight is weight
    assert paths(layer) == ["weight", "bias"]


def test_train_eval_and_zero_grad_reach_all_of_one_model(backend: Backend) -> None:
    tower, other = Tower(backend), Tower(backend)
    for switch, mode in ((tower.train, True), (tower.eval, False), (tower.train, True)):
        assert switch() is tower
        assert {layer.training for _, layer in tower.named_modules()} == {mode}
        assert other.training
        assert nn.Dropout(0.5).training
    for parameter in tower.parameters():
        parameter.grad = parameter.tensor
    tower.zero_grad()
    assert all(parameter.grad is None for parameter in tower.parameters())


TOWER_REPR = """\
Tower(
  note='no parameter',
  scale=(2,) frozen,
  blocks.0=Linear(weight=(2, 2), bias=(2,)),
  blocks.1=Linear(bias=None, weight=(2, 2)),
  head=Linear(weight=(1, 2), bias=(1,)),
  more.left=(2,),
  more.right.0=(2,),
  more.right.1=ReLU(),
  dropout=Dropout(p=0.25)
)"""

NESTED_REPR = """\
Sequential(
  0=Sequential(
    0=Linear(weight=(1, 1) float64, bias=(1,) float64)
  ),
  1=Flatten(start_axis=1)
)"""


def test_repr_shows_settings_shapes_and_nesting(backend: Backend) -> None:
    tower = Tower(backend)
    tower.scale.requires_grad = False
    assert repr(tower) == TOWER_REPR
    inner = nn.Linear(1, 1, backend, dtype="float64")
    assert repr(nn.Sequential(nn.Sequential(inner), nn.Flatten())) == NESTED_REPR


def test_stateless_needs_a_forward() -> None:
    class Nothing(nn.Stateless):
        pass

    kind: Any = Nothing
    with pytest.raises(TypeError, match="forward"):
        kind()
