"""Functions of functions: gradients through linear algebra and a loop, a Jacobian and a Hessian."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

import born
from benchmarks.clocks import Outcome, Step
from benchmarks.harness import Entry, Work
from benchmarks.libraries import Place, born_entries, entry
from born import ops
from born.autodiff import Autodiff, grad, hessian, jacobian, scan
from born.backend import Backend
from born.stats import multivariate_normal

POINTS: Final = 500
STEPS: Final = 1000
WIDTH: Final = 32
SIZE: Final = 50
PARAMETERS: Final = 100
EXAMPLES: Final = 200
_TOLERANCE: Final = 1e-6  # of doubles, through a factorisation or a thousand steps

Make = Callable[..., Step]


def works(here: Place) -> list[Work]:
    """What HIPS autograd, PyTorch and JAX have, too; all in float64."""
    gradient, loop = "gradient of", f"a loop of {STEPS} steps of width {WIDTH}"
    every: list[tuple[str, Any, dict[str, Make]]] = [
        (f"{gradient} the evidence of a Gaussian process of {POINTS} points", _process, _EVIDENCE),
        (f"{gradient} {loop}", partial(_loop, chunk=STEPS), _LOOP),
        (f"{gradient} {loop}, few of them kept by born", _loop, _LOOP),
        (f"Jacobian of {SIZE} x {SIZE}", _square, _JACOBIAN),
        (f"Hessian of {PARAMETERS} parameters", _logistic, _HESSIAN),
    ]
    return [
        Work(title, partial(_entries, here, ours, theirs), tolerance=_TOLERANCE, checked=1)
        for title, ours, theirs in every
    ]


def _entries(here: Place, ours: Callable[[Backend], Step], theirs: dict[str, Make]) -> list[Entry]:
    modules = {
        "HIPS autograd": ["autograd", "autograd.numpy"],
        "PyTorch eager": ["torch"],
        "JAX jitted": ["jax", "jax.numpy"],
    }
    return [
        *born_entries(here, ours),
        *(entry(name, modules[name], make) for name, make in theirs.items()),
    ]


def _first(value: Any) -> Outcome:
    """One number of a result, for all to agree on."""
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    outcome: Outcome = array.ravel()[array.size // 2]
    return outcome


def _stepping(function: Callable[..., Any], *args: Any) -> Step:
    return lambda: _first(function(*args))


def _jitted(jax: Any, function: Callable[..., Any], *arrays: Any) -> Step:
    """A function compiled for doubles, which JAX does not use unless told to."""
    with jax.enable_x64(True):
        given = [jax.numpy.asarray(x) for x in arrays]
        compiled = jax.jit(function)

        def step() -> Outcome:
            with jax.enable_x64(True):
                return _first(compiled(*given).block_until_ready())

        step()
    return step


# -- a Gaussian process --------------------------------------------------------------------------

_DRAW = np.random.default_rng(0)
_X: Final = np.sort(_DRAW.uniform(0.0, 6.0, POINTS))
_Y: Final = np.sin(_X) + 0.1 * _DRAW.standard_normal(POINTS)
_THETA: Final = np.array([0.0, 0.0, -2.0])


def _process(inner: Backend) -> Step:
    backend = Autodiff(inner)
    x, y, theta = (born.tensor(each, backend) for each in (_X, _Y, _THETA))

    def evidence(theta: Any) -> Any:
        apart = ops.expand_dims(x, 1) - ops.expand_dims(x, 0)
        kernel = ops.exp(theta[0] - 0.5 * (apart * apart) * ops.exp(-2.0 * theta[1]))
        noise = ops.exp(theta[2]) * born.eye(POINTS, backend, dtype="float64")
        return multivariate_normal.logpdf(y, 0.0, kernel + noise)

    return _stepping(grad(evidence), theta)


def _process_autograd(autograd: Any, numpy: Any) -> Step:
    def evidence(theta: Any) -> Any:
        apart = _X[:, None] - _X
        kernel = numpy.exp(theta[0] - 0.5 * apart**2 * numpy.exp(-2.0 * theta[1]))
        factor = numpy.linalg.cholesky(kernel + numpy.exp(theta[2]) * np.eye(POINTS))
        scaled = numpy.linalg.solve(factor, _Y)
        return -0.5 * numpy.sum(scaled**2) - numpy.sum(numpy.log(numpy.diag(factor)))

    return _stepping(autograd.grad(evidence), _THETA)


def _process_pytorch(torch: Any) -> Step:
    x, y = torch.tensor(_X), torch.tensor(_Y)
    theta = torch.tensor(_THETA, requires_grad=True)

    def gradient() -> Any:
        apart = x[:, None] - x
        kernel = torch.exp(theta[0] - 0.5 * apart**2 * torch.exp(-2.0 * theta[1]))
        noise = torch.exp(theta[2]) * torch.eye(POINTS, dtype=torch.float64)
        normal = torch.distributions.MultivariateNormal(
            torch.zeros_like(y), kernel + noise, validate_args=False
        )
        return torch.autograd.grad(normal.log_prob(y), theta)[0]

    return _stepping(gradient)


def _process_jax(jax: Any, numpy: Any) -> Step:
    def evidence(theta: Any, x: Any, y: Any) -> Any:
        apart = x[:, None] - x
        kernel = numpy.exp(theta[0] - 0.5 * apart**2 * numpy.exp(-2.0 * theta[1]))
        cov = kernel + numpy.exp(theta[2]) * numpy.eye(POINTS)
        return jax.scipy.stats.multivariate_normal.logpdf(y, numpy.zeros_like(y), cov)

    return _jitted(jax, jax.grad(evidence), _THETA, _X, _Y)


_EVIDENCE: Final[dict[str, Make]] = {
    "HIPS autograd": _process_autograd,
    "PyTorch eager": _process_pytorch,
    "JAX jitted": _process_jax,
}

# -- a loop --------------------------------------------------------------------------------------

_W: Final = 0.15 * _DRAW.standard_normal((WIDTH, WIDTH))
_XS: Final = _DRAW.standard_normal((STEPS, WIDTH))


def _loop(inner: Backend, chunk: int | None = None) -> Step:
    backend = Autodiff(inner)
    weight, xs = born.tensor(_W, backend), born.tensor(_XS, backend)
    start = born.zeros(WIDTH, backend, "float64")

    def loss(weight: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            return ops.tanh(weight @ h + x), None

        return (scan(step, start, xs, chunk=chunk)[0] ** 2).sum()

    return _stepping(grad(loss), weight)


def _loop_autograd(autograd: Any, numpy: Any) -> Step:
    def loss(weight: Any) -> Any:
        h = np.zeros(WIDTH)
        for x in _XS:
            h = numpy.tanh(numpy.dot(weight, h) + x)
        return numpy.sum(h**2)

    return _stepping(autograd.grad(loss), _W)


def _loop_pytorch(torch: Any) -> Step:
    weight, xs = torch.tensor(_W, requires_grad=True), torch.tensor(_XS)

    def gradient() -> Any:
        h = torch.zeros(WIDTH, dtype=torch.float64)
        for x in xs:
            h = torch.tanh(weight @ h + x)
        return torch.autograd.grad((h**2).sum(), weight)[0]

    return _stepping(gradient)


def _loop_jax(jax: Any, numpy: Any) -> Step:
    def loss(weight: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            return numpy.tanh(weight @ h + x), None

        return (jax.lax.scan(step, numpy.zeros(WIDTH), xs)[0] ** 2).sum()

    return _jitted(jax, jax.grad(loss), _W, _XS)


_LOOP: Final[dict[str, Make]] = {
    "HIPS autograd": _loop_autograd,
    "PyTorch eager": _loop_pytorch,
    "JAX jitted": _loop_jax,
}

# -- a Jacobian ----------------------------------------------------------------------------------

_A: Final = _DRAW.standard_normal((SIZE, SIZE)) / SIZE**0.5
_AT: Final = _DRAW.standard_normal(SIZE)


def _layers(tanh: Callable[[Any], Any], a: Any) -> Callable[[Any], Any]:
    return lambda x: tanh(a @ tanh(a @ x)) * x


def _square(inner: Backend) -> Step:
    backend = Autodiff(inner)
    function = _layers(ops.tanh, born.tensor(_A, backend))
    return _stepping(jacobian(function), born.tensor(_AT, backend))


def _square_autograd(autograd: Any, numpy: Any) -> Step:
    def function(x: Any) -> Any:
        return numpy.tanh(numpy.dot(_A, numpy.tanh(numpy.dot(_A, x)))) * x

    return _stepping(autograd.jacobian(function), _AT)


def _square_pytorch(torch: Any) -> Step:
    function = torch.func.jacrev(_layers(torch.tanh, torch.tensor(_A)))
    return _stepping(function, torch.tensor(_AT))


def _square_jax(jax: Any, numpy: Any) -> Step:
    def whole(x: Any, a: Any) -> Any:
        return jax.jacrev(_layers(numpy.tanh, a))(x)

    return _jitted(jax, whole, _AT, _A)


_JACOBIAN: Final[dict[str, Make]] = {
    "HIPS autograd": _square_autograd,
    "PyTorch eager": _square_pytorch,
    "JAX jitted": _square_jax,
}

# -- a Hessian -----------------------------------------------------------------------------------

_ROWS: Final = _DRAW.standard_normal((EXAMPLES, PARAMETERS))
_LABELS: Final = (_DRAW.random(EXAMPLES) < 0.5).astype(np.float64)
_WEIGHTS: Final = 0.1 * _DRAW.standard_normal(PARAMETERS)


def _logistic(inner: Backend) -> Step:
    backend = Autodiff(inner)
    rows, labels, weights = (born.tensor(x, backend) for x in (_ROWS, _LABELS, _WEIGHTS))

    def loss(w: Any) -> Any:
        logits = rows @ w
        return (ops.log(1.0 + ops.exp(logits)) - labels * logits).mean() + (w**4).sum()

    return _stepping(hessian(loss), weights)


def _logistic_autograd(autograd: Any, numpy: Any) -> Step:
    def loss(w: Any) -> Any:
        logits = numpy.dot(_ROWS, w)
        entropy = numpy.log(1.0 + numpy.exp(logits)) - _LABELS * logits
        return numpy.mean(entropy) + numpy.sum(w**4)

    return _stepping(autograd.hessian(loss), _WEIGHTS)


def _logistic_pytorch(torch: Any) -> Step:
    rows, labels = torch.tensor(_ROWS), torch.tensor(_LABELS)

    def loss(w: Any) -> Any:
        logits = rows @ w
        return (torch.log(1.0 + torch.exp(logits)) - labels * logits).mean() + (w**4).sum()

    return _stepping(torch.func.hessian(loss), torch.tensor(_WEIGHTS))


def _logistic_jax(jax: Any, numpy: Any) -> Step:
    def loss(w: Any, rows: Any, labels: Any) -> Any:
        logits = rows @ w
        return (numpy.log(1.0 + numpy.exp(logits)) - labels * logits).mean() + (w**4).sum()

    return _jitted(jax, jax.hessian(loss), _WEIGHTS, _ROWS, _LABELS)


_HESSIAN: Final[dict[str, Make]] = {
    "HIPS autograd": _logistic_autograd,
    "PyTorch eager": _logistic_pytorch,
    "JAX jitted": _logistic_jax,
}
