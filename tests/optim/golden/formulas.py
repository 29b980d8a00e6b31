"""Updates written out from papers and other systems' documentation, for arrays of any numbers.

They are recorded with mpmath's, at 50 digits. Each is `(p, g, state, t, *, lr, ...) -> p`, where
`state` is a dict that holds the parameter's name at first, and looks nothing like the rule that it
checks: no helpers shared with it, no rearranging.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
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
    weight_decay: Any = 0,
) -> Any:
    """Burn's, with a sum of scaled gradients, and GoMLX's, which is AdamW without m."""
    p = p * (1 - lr * weight_decay)
    v = state["v"] = alpha * state.get("v", 0) + (1 - alpha) * g**2
    v_hat = v / (1 - alpha**t) if corrected else v
    state["b"] = momentum * state.get("b", 0) + g / (sqrt(v_hat) + eps)
    return p - lr * state["b"]


def adagrad(p: Any, g: Any, state: State, t: Any, *, lr: Any, eps: Any, lr_decay: Any) -> Any:
    """Duchi et al. with a rate that decays; Burn's."""
    state["sum"] = state.get("sum", 0) + g**2
    return p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(state["sum"]) + eps)


def burn_muon(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    momentum: Any,
    weight_decay: Any = 0,
    scale: str = "original",
    flat: bool = False,
) -> Any:
    """Burn: a sum of gradients, the norm bounded from below, PyTorch's scale by shape."""
    m = state["m"] = momentum * state.get("m", 0) + g
    x = (g + momentum * m).reshape(p.shape[0], -1)
    rows, columns = x.shape
    x = newton_schulz(x, lambda length: max(length, mpmath.mpf(1e-7))).reshape(p.shape)
    ratio = mpmath.mpf(rows) / columns
    factor = {
        "original": sqrt(max(mpmath.mpf(1), ratio)),
        "rms_to_rms": sqrt(ratio),
        "none": mpmath.mpf(1),
    }[scale]
    return p * (1 - lr * weight_decay) - lr * factor * x


def keras_muon(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    nesterov: bool = True,
    weight_decay: Any = 0.004,
) -> Any:
    """Keras: the size of AdamW's steps; AdamW, with its own decay, for all but matrices, and for
    what is called an embedding."""
    if len(np.shape(p)) != 2 or "embedding" in state["name"]:
        p = p * (1 - lr * mpmath.mpf(0.004))
        betas = [mpmath.mpf(0.9), mpmath.mpf(0.999)]
        return autograd_adam(p, g, state, t, lr=lr, betas=betas, eps=mpmath.mpf(1e-7))
    p = p * (1 - lr * weight_decay)
    m = state["m"] = mpmath.mpf(0.95) * state.get("m", 0) + g
    x = newton_schulz(g + mpmath.mpf(0.95) * m if nesterov else m, lambda x: x + mpmath.mpf(1e-7))
    return p - lr * mpmath.mpf(0.2) * sqrt(mpmath.mpf(max(p.shape))) * x


def mlx_muon(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    nesterov: bool = True,
    weight_decay: Any = 0.01,
) -> Any:
    """MLX: L2, vectors by their momentum alone, more axes as a matrix, scaled by the last two."""
    mu = mpmath.mpf(0.95)
    g = g + mpmath.mpf(weight_decay) * p
    v = state["v"] = mu * state.get("v", 0) + (1 - mu) * g
    update = g * (1 - mu) + v * mu if nesterov else v
    shape = np.shape(p)
    if len(shape) >= 2:
        flat = update.reshape(shape[0], -1)
        update = newton_schulz(flat, lambda x: x + mpmath.mpf(1e-7)).reshape(shape)
        lr = lr * sqrt(max(mpmath.mpf(1), mpmath.mpf(shape[-2]) / shape[-1]))
    return p - lr * update


def newton_schulz(x: Any, divisor: Callable[[Any], Any]) -> Any:
    """Jordan et al.: five iterations."""
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / divisor(sqrt((x * x).sum()))
    a, b, c = map(mpmath.mpf, (3.4445, -4.775, 2.0315))
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def rms(x: Any) -> Any:
    """The root of the mean of all squares."""
    return sqrt(np.mean(np.asarray(x * x, object)))


def optax_adafactor(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    least: int = 128,
    eps: Any = 1e-30,
    clip: Any = 1.0,
    momentum: Any = None,
    weight_decay: Any = 0,
    scaled: bool = True,
) -> Any:
    """Optax: over the two longest axes; no relative step; the decay does not have lr in it."""
    shape = np.shape(p)
    new = t ** mpmath.mpf(-0.8)
    squares = np.asarray(g * g + mpmath.mpf(eps), object)
    order = np.argsort(shape)
    if len(shape) >= 2 and shape[order[-2]] >= least:
        second, first = int(order[-2]), int(order[-1])
        row = np.mean(squares, axis=first, keepdims=True)
        column = np.mean(squares, axis=second, keepdims=True)
        row = state["row"] = (1 - new) * state.get("row", 0) + new * row
        column = state["column"] = (1 - new) * state.get("column", 0) + new * column
        u = g / sqrt(row / np.mean(row, axis=second, keepdims=True)) / sqrt(column)
    else:
        v = state["v"] = (1 - new) * state.get("v", 0) + new * squares
        u = g / sqrt(v)
    u = u / max(mpmath.mpf(1), rms(u) / mpmath.mpf(clip)) * lr
    if scaled:
        u = u * max(rms(p), mpmath.mpf(1e-3))
    if momentum is not None:
        u = state["m"] = momentum * state.get("m", 0) + (1 - momentum) * u
    return p - (u + weight_decay * p)


def keras_adafactor(p: Any, g: Any, state: State, t: Any, *, lr: Any, weight_decay: Any = 0) -> Any:
    """Keras: the last two axes, a relative step, and a decay before all else."""
    p = p * (1 - lr * weight_decay)
    u = _by_last_axes(g, state, t)
    u = u / max(mpmath.mpf(1), rms(u))
    return p - max(mpmath.mpf(1e-3), rms(p)) * min(lr, 1 / sqrt(t)) * u


def mlx_adafactor(
    p: Any,
    g: Any,
    state: State,
    t: Any,
    *,
    lr: Any,
    relative: bool = True,
    momentum: Any = None,
    weight_decay: Any = 0,
) -> Any:
    """MLX: its relative step is at most 0.01, and its decay at the rate of the step."""
    rate = min(mpmath.mpf(0.01), 1 / sqrt(t)) if relative else lr
    rate = rate * max(mpmath.mpf(1e-3), rms(p))
    u = _by_last_axes(g, state, t)
    u = rate * (u / max(mpmath.mpf(1), rms(u)))
    if momentum is not None:
        u = state["m"] = momentum * state.get("m", 0) + (1 - momentum) * u
    return p - weight_decay * rate * p - u


def _by_last_axes(g: Any, state: State, t: Any) -> Any:
    """Shazeer and Stern, algorithm 4: g / √v, where v is of rank one."""
    new = t ** mpmath.mpf(-0.8)
    squares = np.asarray(g * g + mpmath.mpf(1e-30), object)
    if squares.ndim < 2:
        v = state["v"] = (1 - new) * state.get("v", 0) + new * squares
        return g / sqrt(v)
    row = np.mean(squares, axis=-1, keepdims=True)
    column = np.mean(squares, axis=-2, keepdims=True)
    row = state["row"] = (1 - new) * state.get("row", 0) + new * row
    column = state["column"] = (1 - new) * state.get("column", 0) + new * column
    return g / sqrt(row * column / np.mean(row, axis=-2, keepdims=True))


def yogi(p: Any, g: Any, state: State, t: Any, *, lr: Any, betas: Any, eps: Any, start: Any) -> Any:
    """Zaheer et al., algorithm 2, with Adam's bias corrections."""
    m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    v = state.get("v", start + 0 * g)
    v = state["v"] = v - (1 - betas[1]) * np.sign(v - g**2) * g**2
    return p - lr * m / (1 - betas[0] ** t) / (sqrt(v / (1 - betas[1] ** t)) + eps)


def optax_schedule_free(
    p: Any, g: Any, state: State, t: Any, *, lr: Any, warmup: Any, eps: Any = None
) -> Any:
    """Optax: base steps warm up from 0, and their weights from 1 / warmup; SGD's, or with eps
    AdamW's with betas of 0.9 and 0.999."""
    beta = mpmath.mpf("0.9")
    if eps is not None:
        b2 = mpmath.mpf("0.999")
        v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g**2
        g = g / (sqrt(v / (1 - b2**t)) + eps)
    z = state.get("z", p)
    x = (p - (1 - beta) * z) / beta
    z = state["z"] = z - lr * min((t - 1) / warmup, 1) * g
    weight = (lr * min(t / warmup, 1)) ** 2
    total = state["total"] = state.get("total", 0) + weight
    x = x + weight / total * (z - x)
    return beta * x + (1 - beta) * z


def signum(p: Any, g: Any, state: State, t: Any, *, lr: Any, momentum: Any) -> Any:
    """Bernstein et al., algorithm 2."""
    m = state["m"] = momentum * state.get("m", 0) + (1 - momentum) * g
    return p - lr * np.sign(m)
