"""`noisy`: a rule whose gradients have noise added first."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, Final, cast

from born.errors import ConfigError
from born.fusion import where
from born.optim.config import cached
from born.optim.fields import NonNegative, checked_scalar
from born.optim.rule import Rule, RuleFunction, free_name, from_rule
from born.optim.scalars import Scalar
from born.validation import integer


@from_rule
def noisy(rule: Rule, std: Scalar, seed: int = 0) -> Rule:
    """`rule` with noise added to gradients first: g ← g + std · n.

    n has the mean 0, the variance 1 and the next moments of a normal number, up to the seventh, and
    is at most 4.7: the sum of four draws from the points of Gauss and Hermite. It is a function of
    the seed, the parameter's number, its count of updates and the element: the same bits on every
    backend, and after a resume.

    Args:
        rule: what to give the gradients to.
        std: how large the noise is, a number or a schedule that falls, such as
            `lambda t: (0.01 / (1 + t) ** 0.55) ** 0.5`.
        seed: of the noise, from 0; another for each, where a rule is wrapped more than once.

    Raises:
        ConfigError: a seed out of range, or one that the rule has noise of already.

    Source: Neelakantan et al. (2015), "Adding gradient noise improves learning for very deep
    networks", section 3.

    >>> p = nn.Parameter(born.zeros(100, backend))
    >>> optimizer = optim.SGD([p], lr=1.0, wrappers=[lambda rule: optim.noisy(rule, 0.1)])
    >>> report = optimizer.step({p.raw: born.zeros(100, p.backend).raw})
    >>> bool(np.abs(p.numpy()).max() < 0.47), bool(0.08 < p.numpy().std() < 0.12)
    (True, True)
    """
    checked = checked_scalar("noisy.std", NonNegative, std)
    name = free_name(rule, "noise_std")
    first = integer("seed", seed, 0, ConfigError)
    if first >= _SEEDS:
        raise ConfigError(f"expected a seed below {_SEEDS:,}, got {seed}; choose a smaller one")
    if first in _seeds(rule.function):
        raise ConfigError(
            f"expected another seed than that of the noise which the rule has already, got {seed}; "
            "the same noise twice is twice as large, not another: write noisy(rule, std, seed=1)"
        )
    function = _with_noise(rule.function, name, _OTHERS + first * _DRAWS)
    return replace(rule, function=function, scalars={**rule.scalars, name: checked})


_SEED: Final = "noise_seed"  # the attribute of a formula with noise that holds its seed
_DRAWS: Final = 4
_OTHERS: Final = 2**23
"""Seeds below belong to stochastic rounding, which would draw the same bits."""
_SEEDS: Final = 2**21  # four draws each, below the 2^24 that are exact in float32
_INNER: Final = 0.7419637843027259
_OUTER: Final = 2.3344142183389773
_TAIL: Final = 0.045875854768068


@cached  # equal rules share one function, and so one program
def _with_noise(function: RuleFunction, name: str, seed: int) -> RuleFunction:
    @functools.wraps(function)
    def stirred(p: Any, g: Any, *slots: Any, t: Any, **scalars: Any) -> Any:
        std, noise = scalars.pop(name), None
        for draw in range(seed, seed + _DRAWS):
            # Of one draw all three compare the same bits: it is one of four points.
            high, middle, low = (_chance(g, x, t, draw) for x in (1 - _TAIL, 0.5, _TAIL))
            point = _OUTER - (_OUTER - _INNER) * (high + low) - 2 * _INNER * middle
            noise = point if noise is None else noise + point
        return function(p, g + (std / _DRAWS**0.5) * noise, *slots, t=t, **scalars)

    vars(stirred)[_SEED] = (seed - _OTHERS) // _DRAWS
    return stirred


def _seeds(function: Any) -> set[int]:
    """The seeds of the noise that a formula has around it already."""
    seeds = set[int]()
    while function is not None:
        seeds |= {vars(function)[_SEED]} if _SEED in getattr(function, "__dict__", {}) else set()
        function = getattr(function, "__wrapped__", None)
    return seeds


def _chance(g: Any, share: float, t: Any, seed: int) -> Any:
    """1 with a probability, and else 0, in steps of 2^-16: which of its neighbours in bfloat16 a
    number between them is rounded to."""
    between: Any = 1.0 + share * 2.0**-7
    traced = cast("Any", where(g == g, between, between))
    return (traced.round_stochastically("bfloat16", t, seed) - 1.0) * 2.0**7
