"""Runs other libraries' optimizers over the data. Each parameter has an optimizer to itself, as
libraries differ in how one that joins late is counted; `JOINT` names those that have to see all.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import numpy as np

from tests.optim.golden import formulas
from tests.optim.golden.case import Case
from tests.optim.golden.data import JOINED, KEPT, NAMES, SHAPES, STEPS, Array, gradient, start

Step = Callable[[list[Array | None], float], list[Array]]
"""From the gradients and the learning rate of a step to the parameters after it."""

JOINT: Final = frozenset(("Prodigy",))


def _torch_step(
    make: Callable[[Any, list[Any]], Any], values: list[Array], torch: Any, **after: Any
) -> Step:
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in values]
    optimizer = make(torch, parameters)

    def step(gradients: list[Array | None], lr: float) -> list[Array]:
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = None if g is None else torch.tensor(g)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        return [p.detach().numpy().copy() for p in parameters]

    return step


def _torch(case: Case, values: list[Array], first: int, names: list[str]) -> Step:
    torch: Any = importlib.import_module("torch")
    torch.set_default_dtype(torch.float64)  # in which some of its scalars are kept
    options = {"foreach": False, **case.options}
    if case.function == "Muon":
        if values[0].ndim != 2:
            return _adamw(values)
        del options["foreach"]
        # It rounds to bfloat16 before its products: here they are in double.
        torch.Tensor.bfloat16 = _unrounded

    def make(torch: Any, parameters: list[Any]) -> Any:
        return getattr(torch.optim, case.function)(parameters, lr=case.rate(first), **options)

    return _torch_step(make, values, torch)


def _timm(case: Case, values: list[Array], first: int, names: list[str]) -> Step:
    torch: Any = importlib.import_module("torch")
    _import_bare("timm")
    _import_bare("timm.optim")
    module, function = case.function.split(".")
    made = getattr(importlib.import_module(f"timm.optim.{module}"), function)

    def make(torch: Any, parameters: list[Any]) -> Any:
        return made(parameters, lr=case.rate(first), **case.options)

    return _torch_step(make, values, torch)


def _unrounded(x: Any) -> Any:
    return x.clone()


def _adamw(values: list[Array]) -> Step:
    """What becomes of the parameters that Muon leaves to others, at their own learning rate."""
    torch: Any = importlib.import_module("torch")
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in values]
    optimizer = torch.optim.AdamW(parameters, foreach=False)

    def step(gradients: list[Array | None], lr: float) -> list[Array]:
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
        return [p.detach().numpy().copy() for p in parameters]

    return step


def _schedulefree(case: Case, values: list[Array], first: int, names: list[str]) -> Step:
    torch: Any = importlib.import_module("torch")
    schedulefree: Any = importlib.import_module("schedulefree")

    def make(torch: Any, parameters: list[Any]) -> Any:
        made = getattr(schedulefree, case.function)(
            parameters, lr=case.rate(first), foreach=False, **case.options
        )
        made.train()
        return made

    return _torch_step(make, values, torch)


def _prodigyopt(case: Case, values: list[Array], first: int, names: list[str]) -> Step:
    torch: Any = importlib.import_module("torch")
    prodigyopt: Any = importlib.import_module("prodigyopt")

    def make(torch: Any, parameters: list[Any]) -> Any:
        return prodigyopt.Prodigy(parameters, lr=case.rate(first), **case.options)

    return _torch_step(make, values, torch)


def _import_bare(name: str) -> None:
    """Import a package without what it imports: timm's models ask for a matching torchvision."""
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        package = ModuleType(name)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[name] = package


def _optax(case: Case, values: list[Array], first: int, names: list[str]) -> Step:
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jnp: Any = importlib.import_module("jax.numpy")
    optax: Any = importlib.import_module("optax")
    make = getattr(optax, case.function, None) or getattr(optax.contrib, case.function)
    rates = jnp.array([case.rate(first + t) for t in range(STEPS + 2)], jnp.float64)
    options = {
        name: value(jnp) if callable(value) else value for name, value in case.options.items()
    }
    if case.function == "rprop" or "warmup_steps" in options:
        rule = make(learning_rate=case.rate(first), **options)
    else:
        rule = make(learning_rate=rates.__getitem__, **options)
    held = [jnp.array(value) for value in values]
    state = rule.init(held)

    def step(gradients: list[Array | None], lr: float) -> list[Array]:
        nonlocal held, state
        grads = [jnp.array(g) for g in gradients]
        updates, state = rule.update(grads, state, held)
        held = optax.apply_updates(held, updates)
        return [np.asarray(value) for value in held]

    return step


def _keras(case: Case, values: list[Array], first: int, names: list[str]) -> Step:
    # On torch's tensors ScheduleFreeAdamW reads the z that it has just overwritten.
    os.environ["KERAS_BACKEND"] = "jax"
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    keras: Any = importlib.import_module("keras")
    keras.config.set_floatx("float64")
    variables = [
        keras.Variable(value, dtype="float64", name=name)
        for name, value in zip(names, values, strict=True)
    ]
    optimizer = getattr(keras.optimizers, case.function)(
        learning_rate=case.rate(first), **case.options
    )
    optimizer.build(variables)

    def step(gradients: list[Array | None], lr: float) -> list[Array]:
        optimizer.learning_rate = lr
        grads = [keras.ops.convert_to_tensor(g, dtype="float64") for g in gradients]
        optimizer.apply(grads, variables)
        return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]

    return step


def _mlx(case: Case, values: list[Array], first: int, names: list[str]) -> Step:
    mx: Any = importlib.import_module("mlx.core")
    optimizers: Any = importlib.import_module("mlx.optimizers")
    mx.set_default_device(mx.cpu)
    optimizer = getattr(optimizers, case.function)(learning_rate=case.rate(first), **case.options)
    held = {str(i): mx.array(value, dtype=mx.float64) for i, value in enumerate(values)}

    def step(gradients: list[Array | None], lr: float) -> list[Array]:
        nonlocal held
        # Its setter would make a float32 of the number.
        optimizer.state["learning_rate"] = mx.array(lr, dtype=mx.float64)
        grads = {str(i): mx.array(g, dtype=mx.float64) for i, g in enumerate(gradients)}
        held = optimizer.apply_gradients(grads, held)
        mx.eval(held)
        return [np.array(value) for value in held.values()]

    return step


def _formula(case: Case, values: list[Array], first: int, names: list[str]) -> Step:
    """A reference in mpmath, at 50 digits: arrays of its numbers."""
    matrices = (2, 3, 4) if case.options.get("flat") else (2,)
    if case.function == "burn_muon" and values[0].ndim not in matrices:
        return _adamw(values)
    mpmath: Any = importlib.import_module("mpmath")
    mpmath.mp.dps = 50
    exact = np.vectorize(mpmath.mpf, otypes=[object])
    update = getattr(formulas, case.function)
    held: list[Any] = [exact(value) for value in values]
    states: list[dict[str, Any]] = [{"name": name} for name in names]
    options = {name: _exact(value, mpmath) for name, value in case.options.items()}
    count = 0

    def step(gradients: list[Array | None], lr: float) -> list[Array]:
        nonlocal count
        count += 1
        for i, g in enumerate(gradients):
            held[i] = update(
                held[i], exact(g), states[i], mpmath.mpf(count), lr=mpmath.mpf(lr), **options
            )
        return [np.array(value, np.float64) for value in held]

    return step


def _exact(value: Any, mpmath: Any) -> Any:
    if isinstance(value, bool | str | int):
        return value
    return mpmath.mpf(value) if isinstance(value, float) else [mpmath.mpf(item) for item in value]


_MAKERS: Final[dict[str, Callable[[Case, list[Array], int, list[str]], Step]]] = {
    "torch": _torch,
    "timm": _timm,
    "optax": _optax,
    "keras": _keras,
    "schedulefree": _schedulefree,
    "prodigyopt": _prodigyopt,
    "mlx": _mlx,
    "formula": _formula,
}
"""Where a reference comes from -> what makes a step of it."""


def record(case: Case) -> Array:
    """The parameters after each of the kept steps, one row a step."""
    everyone = range(len(SHAPES))
    parts = [list(everyone)] if case.name in JOINT else [[index] for index in everyone]
    columns = [_run(case, part) for part in parts]
    return np.concatenate(columns, axis=1)


def _run(case: Case, indices: list[int]) -> Array:
    first = 1 if len(indices) > 1 or case.together else JOINED[indices[0]]
    values = [start()[index] for index in indices]
    names = [NAMES[index] for index in indices]
    step = _MAKERS[case.library](case, [value.copy() for value in values], first, names)
    rows: list[Array] = []
    for t in range(1, STEPS + 1):
        if t >= first:
            gradients = [gradient(index, t, case.together, case.pulled) for index in indices]
            values = step(gradients, case.rate(t))
        if t in KEPT:
            rows.append(np.concatenate([np.asarray(value).reshape(-1) for value in values]))
    return np.stack(rows).astype(np.float64)
