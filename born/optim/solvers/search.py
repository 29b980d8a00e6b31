"""The line search of Moré and Thuente: a step that satisfies the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Along = Callable[[float], tuple[float, float]]
"""From the length of a step to the function and its slope there."""


@dataclass(slots=True)
class Trial:
    """A step along the line, the function there, and its slope."""

    step: float
    f: float
    slope: float


def search(
    along: Along,
    f: float,
    slope: float,
    step: float,
    *,
    decrease: float,
    curvature: float,
    longest: float = 1e20,
    narrowest: float,
    most: int,
) -> float:
    """The first step found that has what is asked for; failing that the lowest, or 0.

    With f and its slope at 0, the step α is to satisfy f(α) ≤ f + decrease · α · slope and
    |slope(α)| ≤ curvature · |slope|. A step at which the function is not finite is taken to be too
    long.

    Source: Moré and Thuente (1994), "Line search algorithms with guaranteed sufficient decrease",
    ACM TOMS 20; the constants are those of MINPACK-2's dcsrch.
    """
    test = decrease * slope
    bracketed: bool = False
    first_stage = True
    width, width_before = longest, 2 * longest
    best, other = Trial(0.0, f, slope), Trial(0.0, f, slope)
    low: float = 0.0
    high: float = step + 4.0 * step
    step = min(step, longest)
    for _ in range(most):
        value, gradient = along(step)
        if not (math.isfinite(value) and math.isfinite(gradient)):
            longest = step
            step = best.step + 0.1 * (step - best.step)
            high = min(high, longest)
            if longest - best.step <= narrowest * longest:
                break
            continue
        bound = f + step * test
        if value <= bound and abs(gradient) <= curvature * -slope:
            return step
        if value <= bound and gradient <= test and step >= longest:
            return step  # it would go on if it might
        if bracketed and (step <= low or step >= high or high - low <= narrowest * high):
            break
        if first_stage and value <= bound and gradient >= 0:
            first_stage = False
        trial = Trial(step, value, gradient)
        if first_stage and bound < value <= best.f:
            # By the function less its wanted decrease, whose minimum lies in the interval.
            for each in (trial, best, other):
                each.f, each.slope = each.f - each.step * test, each.slope - test
            step, bracketed, best, other = _next(best, other, trial, bracketed, low, high)
            for each in (best, other):
                each.f, each.slope = each.f + each.step * test, each.slope + test
        else:
            step, bracketed, best, other = _next(best, other, trial, bracketed, low, high)
        if bracketed:
            if abs(other.step - best.step) >= 0.66 * width_before:
                step = best.step + 0.5 * (other.step - best.step)
            width_before, width = width, abs(other.step - best.step)
            low, high = min(best.step, other.step), max(best.step, other.step)
        else:
            low = step + 1.1 * (step - best.step)
            high = step + 4.0 * (step - best.step)
        step = min(max(step, 0.0), longest)
    return best.step


def _next(
    best: Trial, other: Trial, trial: Trial, bracketed: bool, low: float, high: float
) -> tuple[float, bool, Trial, Trial]:
    """The next step to try, and the interval with the trial in it: MINPACK-2's dcstep."""
    step = trial.step
    opposite = trial.slope * math.copysign(1.0, best.slope) < 0
    secant = _secant(best, trial)
    if trial.f > best.f:
        # Higher: the minimum is bracketed, near the cubic's, or between it and the parabola's.
        cubic, span = _cubic(best, trial), step - best.step
        parabola = best.step + best.slope / ((best.f - trial.f) / span + best.slope) / 2 * span
        near = abs(cubic - best.step) <= abs(parabola - best.step)
        found, bracketed = (cubic if near else cubic + (parabola - cubic) / 2), True
    elif opposite:
        # Lower, and beyond the minimum: what is further from the trial.
        cubic = _cubic(trial, best)
        found = cubic if abs(cubic - step) > abs(secant - step) else secant
        bracketed = True
    elif abs(trial.slope) < abs(best.slope):
        # Lower, and flatter: the cubic may have no minimum there.
        cubic = _far_cubic(trial, best, low if step <= best.step else high)
        nearer = abs(cubic - step) < abs(secant - step)
        if bracketed:
            found = cubic if nearer else secant
            limit = step + 0.66 * (other.step - step)
            found = min(limit, found) if step > best.step else max(limit, found)
        else:
            found = min(max(secant if nearer else cubic, low), high)
    elif bracketed:
        found = _cubic(trial, other)
    else:
        found = high if step > best.step else low
    if trial.f > best.f:
        return found, bracketed, best, trial
    return found, bracketed, trial, (best if opposite else other)


def _secant(best: Trial, trial: Trial) -> float:
    change = trial.slope - best.slope
    return trial.step + trial.slope / change * (best.step - trial.step) if change else math.inf


def _theta(a: Trial, b: Trial) -> tuple[float, float, float]:
    theta = 3 * (a.f - b.f) / (b.step - a.step) + a.slope + b.slope
    size = max(abs(theta), abs(a.slope), abs(b.slope))
    inside = (theta / size) ** 2 - (a.slope / size) * (b.slope / size) if size else 0.0
    return theta, size, inside


def _cubic(a: Trial, b: Trial) -> float:
    """The minimum of the cubic through two trials, reckoned from `a`."""
    theta, size, inside = _theta(a, b)
    gamma = math.copysign(size * math.sqrt(max(0.0, inside)), b.step - a.step)
    p, q = gamma - a.slope + theta, gamma - a.slope + gamma + b.slope
    return a.step + p / q * (b.step - a.step) if q else (a.step + b.step) / 2


def _far_cubic(a: Trial, b: Trial, limit: float) -> float:
    """The minimum of the cubic through two trials beyond `a`, or a limit if there is none."""
    theta, size, inside = _theta(a, b)
    gamma = math.copysign(size * math.sqrt(max(0.0, inside)), b.step - a.step)
    p, q = gamma - a.slope + theta, gamma + (b.slope - a.slope) + gamma
    r = p / q if q else 0.0
    return a.step + r * (b.step - a.step) if r < 0 and gamma else limit
