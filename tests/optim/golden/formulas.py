"""Updates written out from papers and other systems' documentation, for arrays of any numbers.

They are recorded with mpmath's, at 50 digits. Each is `(p, g, state, t, *, lr, ...) -> p`, where
`state` is a dict that starts empty, and looks nothing like the rule that it checks: no shared
helpers, no rearranging.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

State = dict[str, Any]
mpmath: Any = importlib.import_module("mpmath")


def sqrt(x: Any) -> Any:
    """The square root of mpmath's numbers, or of arrays of them."""
    return x ** mpmath.mpf("0.5")


def sgd(p: Any, g: Any, state: State, t: Any, *, lr: Any) -> Any:
    """born for Go, itsubaki's autograd, dtorch: without momentum."""
    return p - lr * g


def born_go_momentum(p: Any, g: Any, state: State, t: Any, *, lr: Any, momentum: Any) -> Any:
    """born for Go: velocity = momentum * velocity + gradient; param = param - lr * velocity."""
    state["velocity"] = momentum * state.get("velocity", 0) + g
    return p - lr * state["velocity"]


def autograd_momentum(p: Any, g: Any, state: State, t: Any, *, lr: Any, momentum: Any) -> Any:
    """itsubaki's autograd: v = momentum × v - lr × grad; param = param + v."""
    state["v"] = momentum * state.get("v", 0) - lr * g
    return p + state["v"]


def autograd_l2(
    p: Any, g: Any, state: State, t: Any, *, lr: Any, momentum: Any, weight_decay: Any
) -> Any:
    """The same with its hook WeightDecay."""
    return autograd_momentum(p, g + weight_decay * p, state, t, lr=lr, momentum=momentum)


def tiny_sgd(
    p: Any, g: Any, state: State, t: Any, *, lr: Any, momentum: Any, weight_decay: Any
) -> Any:
    """tiny-pytorch: u = momentum * u + (1 - momentum) * g; p = p * (1 - lr * decay) - lr * u."""
    u = state["u"] = momentum * state.get("u", 0) + (1 - momentum) * g if momentum else g
    return p * (1 - lr * weight_decay) - lr * u


def dtorch_sgd(p: Any, g: Any, state: State, t: Any, *, lr: Any, momentum: Any) -> Any:
    """dtorch: v = m * v + (1 - m) * g; p = p - lr * v."""
    state["v"] = momentum * state.get("v", 0) + (1 - momentum) * g
    return p - lr * state["v"]


def gomlx_sgd(p: Any, g: Any, state: State, t: Any, *, lr: Any) -> Any:
    """GoMLX: learning_rate = initial_learning_rate / Sqrt(global_step)."""
    return p - lr / sqrt(t) * g


def burn_sgd(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    momentum: Any,
    dampening: Any,
    nesterov: bool = False,
    weight_decay: Any = 0,
) -> Any:
    """Burn: the first velocity is the gradient; later ones are damped."""
    g = g + weight_decay * p
    if "v" in state:
        state["v"] = momentum * state["v"] + (1 - dampening) * g
    else:
        state["v"] = g
    return p - lr * (g + momentum * state["v"] if nesterov else state["v"])


def adam(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    betas: Any,
    eps: Any,
    weight_decay: Any = 0,
    decoupled: bool = False,
) -> Any:
    """Kingma and Ba, algorithm 1: born for Go, tiny-pytorch, dtorch, GoMLX and Burn."""
    rate = lr * weight_decay if decoupled else 0
    shrunk = p - rate * p
    g = g if decoupled else g + weight_decay * p
    m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    v = state["v"] = betas[1] * state.get("v", 0) + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return shrunk - lr * m_hat / (sqrt(v_hat) + eps)


def autograd_adam(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    betas: Any,
    eps: Any,
    weight_decay: Any = 0,
) -> Any:
    """itsubaki's autograd: a corrected rate, eps beside √v, and AdamW's decay after the step."""
    m = state["m"] = state.get("m", 0) + (1 - betas[0]) * (g - state.get("m", 0))
    v = state["v"] = state.get("v", 0) + (1 - betas[1]) * (g**2 - state.get("v", 0))
    corrected = lr * sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
    p = p - corrected * m / (sqrt(v) + eps)
    return p - corrected * weight_decay * p


def gomlx_adamax(p: Any, g: Any, state: State, t: Any, *, lr: Any, betas: Any, eps: Any) -> Any:
    """GoMLX: u = max(β2 u, |g|), eps in the division, m corrected."""
    m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    u = state["u"] = np.maximum(betas[1] * state.get("u", 0 * g), abs(g))
    return p - lr * m / (1 - betas[0] ** t) / (u + eps)


def rmsprop(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    alpha: Any,
    eps: Any,
    momentum: Any = 0,
    corrected: bool = False,
) -> Any:
    """Burn's, with a sum of scaled gradients, and GoMLX's, which is Adam without m."""
    v = state["v"] = alpha * state.get("v", 0) + (1 - alpha) * g**2
    v_hat = v / (1 - alpha**t) if corrected else v
    state["b"] = momentum * state.get("b", 0) + g / (sqrt(v_hat) + eps)
    return p - lr * state["b"]


def adagrad(p: Any, g: Any, state: State, t: Any, *, lr: Any, eps: Any, lr_decay: Any) -> Any:
    """Duchi et al. with a rate that decays; Burn's."""
    state["sum"] = state.get("sum", 0) + g**2
    return p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(state["sum"]) + eps)


def burn_muon(
    p: Any, g: Any, state: State, t: Any, *, lr: Any, momentum: Any, weight_decay: Any
) -> Any:
    """Burn: a sum of gradients, the norm bounded from below, PyTorch's scale by shape."""
    m = state["m"] = momentum * state.get("m", 0) + g
    x = g + momentum * m
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    length = sqrt((x * x).sum())
    x = x / (length if length > 1e-7 else mpmath.mpf(1e-7))
    a, b, c = map(mpmath.mpf, (3.4445, -4.775, 2.0315))
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    x = x.T if tall else x
    scale = sqrt(max(mpmath.mpf(1), mpmath.mpf(p.shape[0]) / p.shape[1]))
    return p * (1 - lr * weight_decay) - lr * scale * x


def yogi(p: Any, g: Any, state: State, t: Any, *, lr: Any, betas: Any, eps: Any, start: Any) -> Any:
    """Zaheer et al., algorithm 2, with Adam's bias corrections."""
    m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    v = state.get("v", start + 0 * g)
    v = state["v"] = v - (1 - betas[1]) * np.sign(v - g**2) * g**2
    return p - lr * m / (1 - betas[0] ** t) / (sqrt(v / (1 - betas[1] ** t)) + eps)


def signum(p: Any, g: Any, state: State, t: Any, *, lr: Any, momentum: Any) -> Any:
    """Bernstein et al., algorithm 2."""
    m = state["m"] = momentum * state.get("m", 0) + (1 - momentum) * g
    return p - lr * np.sign(m)
