"""An optimizer's state in PyTorch's terms, on arrays: PyTorch itself is not imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np

from born import optim
from born.errors import CheckpointMismatchError, OperandError
from born.fusion.codec import kept_as
from born.nn import Parameter
from born.optim import Config, Group, Optimizer
from born.raw import HostArray, RawTensor
from born.tensor import Tensor
from born.validation import mismatch_text

_SLOTS: Final = {
    "SGD": {"velocity": "momentum_buffer"},
    "Adam": {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"},
    "AdamW": {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"},
}
"""Optimizer -> born's slot -> PyTorch's entry."""

_ADAM: Final = {
    "lr": 1e-3,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "amsgrad": False,
    "maximize": False,
}
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "SGD": {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    },
    "Adam": _ADAM,
    "AdamW": {**_ADAM, "weight_decay": 1e-2},
}
"""Optimizer -> PyTorch's options, which are called the same here, and their defaults there."""

_HOW: Final[dict[str, dict[str, Any]]] = {
    "SGD": {"foreach": None, "differentiable": False, "fused": None},
    "Adam": {
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": False,
    },
}
_HOW["AdamW"] = {**_HOW["Adam"], "decoupled_weight_decay": True}


class Imported(NamedTuple):
    """What `from_torch` makes of a state: a config, what `load_state_dict` takes, and groups.

    >>> from born.checkpoint import Imported
    >>> Imported(optim.SGDConfig(lr=0.5), {"t.0": 0}).config.lr
    0.5
    """

    config: Config
    state: dict[str, HostArray | int]
    groups: Sequence[Group] = ()


def from_torch(
    state_dict: Mapping[str, Any],
    named_parameters: Iterable[tuple[str, Tensor[Any]]],
    *,
    names: Sequence[str] | None = None,
    kind: str | None = None,
) -> Imported:
    """The state of PyTorch's SGD, Adam or AdamW, for the optimizer of that name in born.

    Trained on from there, both follow the same trajectory, up to rounding.

    Args:
        state_dict: what `optimizer.state_dict()` gives in PyTorch; tensors on the CPU or arrays.
        named_parameters: name and parameter of what the optimizer in born will hold, in its
            order, such as `model.named_parameters()`.
        names: what PyTorch's model calls the parameters, in the order of PyTorch's optimizer,
            in born's words where they differ. PyTorch knows them itself if the optimizer was made
            with `named_parameters()`.
        kind: `"SGD"`, `"Adam"` or `"AdamW"`, if the options do not tell: before version 2.7 PyTorch
            did not say which Adam it was.

    Returns:
        The config of PyTorch's first group, a state for `load_state_dict`, and a group for each
        further one with other options. PyTorch does not count the updates of SGD: parameters with
        a velocity are taken to have had one.

    Raises:
        CheckpointMismatchError: names, shapes or options have no counterpart; the message
            lists every one.
        OperandError: something else than such a state.

    >>> layer = nn.Linear(2, 1, backend, bias=False)
    >>> theirs = {
    ...     "state": {0: {"step": 7.0, "exp_avg": np.ones((1, 2), np.float32),
    ...                   "exp_avg_sq": np.ones((1, 2), np.float32)}},
    ...     "param_groups": [{"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0,
    ...                       "amsgrad": False, "params": [0], "param_names": ["weight"]}],
    ... }
    >>> config, state, groups = checkpoint.from_torch(theirs, layer.named_parameters())
    >>> optimizer = optim.Adam(layer.parameters(), config, groups=groups)
    >>> optimizer.load_state_dict(state)
    >>> optimizer.timestep
    7
    """
    groups, entries = _parts(state_dict)
    called = _torch_names(groups, names)
    optimizer = kind if kind is not None else _kind(groups[0])
    if optimizer not in _SLOTS or not hasattr(optim, optimizer):
        raise OperandError(
            f"expected the state of one of {', '.join(_SLOTS)}, got {optimizer!r}; load the "
            "weights and make a new optimizer"
        )
    lines: list[str] = []
    configs = [_config(optimizer, group, lines) for group in groups]
    number_of = {key: number for number, group in enumerate(groups) for key in group["params"]}
    members: list[list[Tensor[Any]]] = [[] for _ in groups]
    state: dict[str, HostArray | int] = {}
    unexpected = dict.fromkeys(called)
    for index, (name, parameter) in enumerate(named_parameters):
        if name not in called:
            lines.append(f"{name!r}: missing")
            continue
        unexpected.pop(name, None)
        number = number_of[called[name]]
        members[number].append(parameter)
        slots = _slots(optimizer, groups[number])
        values, reasons = _born_entry(entries.get(called[name], {}), slots, parameter)
        state |= {f"{slot}.{index}": value for slot, value in values.items()}
        lines += [f"{name!r}: {reason}" for reason in reasons]
    lines += [f"{name!r}: unexpected" for name in unexpected]
    if lines:
        remedy = "pass the parameters of the same model, and names= where names differ"
        raise CheckpointMismatchError(
            mismatch_text(f"PyTorch's state of {optimizer} for these parameters", lines, remedy)
        )
    config, *others = [each for each in configs if each is not None]  # else there is a line
    return Imported(config, state, _born_groups(config, others, members[1:]))


def _born_entry(
    entry: Mapping[str, Any], slots: Mapping[str, str], parameter: Tensor[Any]
) -> tuple[dict[str, HostArray | int], list[str]]:
    """born's slot -> its value, of one parameter, and why PyTorch's entry does not fit."""
    present = [theirs for theirs in slots.values() if entry.get(theirs) is not None]
    if present and len(present) != len(slots):
        return {}, [f"expected {', '.join(slots.values())}, got {present}"]
    arrays = {
        slot: _array(entry[theirs]) if present else np.zeros(parameter.shape, parameter.dtype)
        for slot, theirs in slots.items()
    }
    lines = [
        f"expected shape {parameter.shape}, got {array.shape}"
        for array in arrays.values()
        if array.shape != parameter.shape
    ]
    return {**arrays, "t": int(_array(entry.get("step", bool(present))))}, lines


def _born_groups(
    config: Config, others: Sequence[Config], members: Sequence[list[Tensor[Any]]]
) -> list[Group]:
    """A group for each config that differs from the first, if it has parameters."""
    names = [each.name for each in dataclasses.fields(config)]
    made: list[Group] = []
    for other, held in zip(others, members, strict=True):
        own = {x: getattr(other, x) for x in names if getattr(other, x) != getattr(config, x)}
        if held and own:
            made.append(Group(cast("list[Parameter[Any]]", held), **own))
    return made


def to_torch(
    optimizer: Optimizer[Any],
    named_parameters: Iterable[tuple[str, Tensor[Any]]],
    *,
    names: Sequence[str] | None = None,
    tensor: Callable[[HostArray], Any] = np.asarray,
) -> dict[str, Any]:
    """An optimizer's state as PyTorch's optimizer of the same name loads it.

    Args:
        optimizer: `SGD`, `Adam` or `AdamW`.
        named_parameters: name and parameter of what it holds, such as `model.named_parameters()`.
        names: the same names in the order of PyTorch's optimizer; by default, that of
            `named_parameters`. Parameters of no group are PyTorch's first group, those of groups
            the next, each in this order.
        tensor: what makes an array one of PyTorch's tensors: `torch.from_numpy`.

    Raises:
        CheckpointMismatchError: names or options have no counterpart; the message lists every one.
        OperandError: an optimizer of another kind.

    >>> layer = nn.Linear(2, 1, backend, bias=False)
    >>> optimizer = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    >>> report = optimizer.step({layer.weight.raw: born.ones((1, 2), backend).raw})
    >>> checkpoint.to_torch(optimizer, layer.named_parameters())["state"]
    {0: {'momentum_buffer': array([[1., 1.]], dtype=float32)}}
    """
    kind = type(optimizer).__name__
    if not isinstance(cast("object", optimizer), Optimizer) or kind not in _SLOTS:
        raise OperandError(
            f"expected an optimizer of PyTorch's: {', '.join(_SLOTS)}, got {kind}; load the "
            "weights and make a new optimizer there"
        )
    paths = {parameter.raw: name for name, parameter in named_parameters}
    places = {paths.get(p.raw, ""): index for index, p in enumerate(optimizer.parameters)}
    order = [name for name in paths.values() if name in places] if names is None else list(names)
    lines = [f"{name!r}: missing" for name in order if name not in places]
    lines += [f"{name!r}: unexpected" for name in places if name not in order]
    parts = _parted(optimizer, order, places)
    options = [_torch_options(optimizer, [places[name] for name in part], lines) for part in parts]
    order = [name for part in parts for name in part]
    if lines:
        remedy = "name every parameter of the optimizer once"
        raise CheckpointMismatchError(
            mismatch_text(f"the parameters of this {kind} in PyTorch's terms", lines, remedy)
        )
    live, to_numpy = optimizer.live_state(), optimizer.backend.innermost.to_numpy
    if any(kept_as(name) for name in live):
        live = {**optimizer.state_dict(decoded=True), **live}
    state: dict[int, dict[str, Any]] = {}
    for position, name in enumerate(order):
        index = places[name]
        count = cast("int", live[f"t.{index}"])
        arrays = {
            theirs: tensor(to_numpy(cast("RawTensor", live[f"{slot}.{index}"])))
            for slot, theirs in _SLOTS[kind].items()
            if f"{slot}.{index}" in live
        }
        if count and arrays:
            step = {} if kind == "SGD" else {"step": tensor(np.array(count, np.float32))}
            state[position] = {**step, **arrays}
    groups = list[dict[str, Any]]()
    first = 0
    for own, part in zip(options, parts, strict=True):
        numbers = list(range(first, first + len(part)))
        groups.append({**own, **_HOW[kind], "params": numbers, "param_names": part})
        first += len(part)
    return {"state": state, "param_groups": groups}


def _parted(
    optimizer: Optimizer[Any], order: Sequence[str], places: Mapping[str, int]
) -> list[list[str]]:
    """The names of the parameters of no group, if there are any, and of each group."""
    members = optimizer.group_members
    grouped = {index for own in members for index in own}
    known = [name for name in order if name in places]
    parts = [[name for name in known if places[name] not in grouped]]
    parts += [[name for name in known if places[name] in own] for own in members]
    return [part for part in parts if part]


def _parts(
    state_dict: Mapping[str, Any],
) -> tuple[Sequence[Mapping[str, Any]], Mapping[Any, Any]]:
    """The groups and the entries of a state dict, if it is one."""
    empty: Mapping[str, Any] = {}
    data = state_dict if isinstance(cast("object", state_dict), Mapping) else empty
    groups = cast("list[Mapping[str, Any]]", data.get("param_groups"))
    entries = cast("Mapping[Any, Any]", data.get("state"))
    listed = cast("list[object]", groups) if isinstance(cast("object", groups), list) else []
    sound = all(isinstance(group, Mapping) and "params" in group for group in listed)
    if listed and sound and isinstance(cast("object", entries), Mapping):
        return groups, entries
    raise OperandError(
        "expected the state dict of an optimizer in PyTorch, with 'state' and 'param_groups', got "
        f"{type(state_dict).__name__}; pass optimizer.state_dict()"
    )


def _torch_names(
    groups: Sequence[Mapping[str, Any]], names: Sequence[str] | None
) -> dict[str, Any]:
    """The name of each parameter -> its key in PyTorch's state."""
    keys = [key for group in groups for key in group["params"]]
    known = [name for group in groups for name in group.get("param_names", ())]
    called = known if names is None else list(names)
    if len(called) != len(keys) or len(set(called)) != len(keys):
        raise CheckpointMismatchError(
            f"expected a name for each of the {len(keys)} parameters of PyTorch's optimizer, got "
            f"{len(set(called))}; pass names=[name for name, _ in model.named_parameters()] of "
            "PyTorch's model, in the order that its optimizer got them"
        )
    return dict(zip(called, keys, strict=True))


def _kind(group: Mapping[str, Any]) -> str:
    """Which optimizer has such options."""
    if {"momentum", "dampening", "nesterov"} <= group.keys():
        return "SGD"
    if {"betas", "amsgrad"} <= group.keys() and "momentum_decay" not in group:
        decoupled = group.get("decoupled_weight_decay")
        if decoupled is None and group.get("weight_decay"):
            raise OperandError(
                "expected a state that says whether its weight decay is decoupled, got one of a "
                'PyTorch that did not; pass kind="Adam" or kind="AdamW"'
            )
        return "AdamW" if decoupled else "Adam"
    return f"an optimizer with {', '.join(key for key in group if key != 'params')}"


def _config(kind: str, group: Mapping[str, Any], lines: list[str]) -> Config | None:
    """The config with PyTorch's options; lines say which have no counterpart."""
    config_type = cast("type[Config]", getattr(optim, f"{kind}Config"))
    known = {each.name for each in dataclasses.fields(config_type)}
    values: dict[str, Any] = {}
    before = len(lines)
    for option in _OPTIONS[kind]:
        found = [_plain(group[option])] if option in group else []
        if found and option in known:
            values[option] = found[0]
        elif found and found[0]:
            lines.append(f"{option}: expected {_OPTIONS[kind][option]}, got {found[0]}")
    return None if len(lines) > before else config_type(**values)


def _torch_options(
    optimizer: Optimizer[Any], members: Sequence[int], lines: list[str]
) -> dict[str, Any]:
    """PyTorch's options for some parameters of one group; lines say what it does not have."""
    kind = type(optimizer).__name__
    first = optimizer.parameters[members[0]]
    config = optimizer.config_of(first)
    options = dict(_OPTIONS[kind])
    frozen = [
        group for group in optimizer.groups if group.freeze and group.holds(first.name, first)
    ]
    lines += [f"{group}: expected parameters that train, got frozen ones" for group in frozen]
    if not isinstance(config, optimizer.config_type):
        lines.append(f"expected the settings of one optimizer, got {config} for a group")
        return options
    count = max(cast("int", optimizer.live_state()[f"t.{index}"]) for index in members)
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if each.name == "lr" and callable(value):
            value = value(count + 1)
        if each.name in options:
            options[each.name] = value
            if callable(value):
                lines.append(f"{each.name}: expected a number, got {value}")
        elif value != each.default and not each.name.endswith("_dtype"):
            lines.append(f"{each.name}: expected {each.default!r}, got {value!r}")
    return options


def _slots(kind: str, group: Mapping[str, Any]) -> dict[str, str]:
    """born's slot -> PyTorch's entry, of those that these options keep."""
    slots = dict(_SLOTS[kind])
    if kind == "SGD" and not _plain(group["momentum"]):
        return {}
    if not group.get("amsgrad"):
        slots.pop("v_max", None)
    return slots


def _plain(value: Any) -> Any:
    """An option as Python's own; a learning rate may be a tensor."""
    if isinstance(value, tuple | list):
        return tuple(_plain(each) for each in cast("Sequence[Any]", value))
    return value if isinstance(value, bool | int | float) else float(value)


def _array(value: object) -> HostArray:
    """A tensor, array or number in memory of its own."""
    try:
        return np.array(np.asarray(value))
    except (TypeError, RuntimeError) as error:
        raise OperandError(
            f"expected tensors on the CPU of dtypes that NumPy has, got {type(value).__name__}: "
            f"{error}; convert it with .float().cpu()"
        ) from error
