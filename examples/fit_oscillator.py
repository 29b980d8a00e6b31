"""Find the mass, damping and stiffness of an oscillator from noisy samples of its motion.

The oscillator starts at rest and a known force of rising pitch drives it through its
resonance: m x'' + c x' + k x = F(t). Since F is known, all three constants show in x(t).
They are fitted by gradient descent, and the gradient passes backwards through every step
of the integrator. It prints the true and the fitted values, and writes a picture.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from common import BLUE, GREY, INK, ORANGE, RED, Metrics, Training, clean, figures, parse, save

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, backward
from born.backend import B, Backend
from born.tensor import Tensor

EPOCHS: Final = 120
LEARNING_RATE: Final = 0.05
STEP: Final = 0.125  # s, a seventeenth of the period of the free oscillator
STEPS: Final = 120
NOISE: Final = 0.05  # m, standard deviation of a sample; the largest swing is about 1.1 m

TRUTH: Final = {"mass": 2.0, "damping": 0.6, "stiffness": 18.0}  # kg, N s/m, N/m
START: Final = {"mass": 1.0, "damping": 1.5, "stiffness": 10.0}
UNITS: Final = {"mass": "kg", "damping": "N s/m", "stiffness": "N/m"}

Samples = npt.NDArray[np.float64]


def force(t: float) -> float:
    """The driving force in newtons: 4 N, from 0.6 rad/s at first to 5.1 rad/s at the end."""
    return 4.0 * math.sin(0.6 * t + 0.15 * t * t)


class Oscillator(nn.Module[B]):
    """m x'' + c x' + k x = F(t), with m, c and k held as logarithms, which keeps them positive."""

    def __init__(self, constants: dict[str, float], backend: B) -> None:
        self.logs = {
            name: nn.Parameter(born.tensor(math.log(value), backend, dtype="float64"))
            for name, value in constants.items()
        }

    def forward(self) -> Tensor[B]:
        """The positions at the end of each of `STEPS` steps, in metres."""
        mass, damping, stiffness = (log.exp() for log in self.logs.values())

        def acceleration(t: float, x: Tensor[B], v: Tensor[B]) -> Tensor[B]:
            return (force(t) - damping * v - stiffness * x) / mass

        x = v = born.zeros((), mass.backend, dtype="float64")
        positions: list[Tensor[B]] = []
        h = STEP
        for step in range(STEPS):
            t = step * h
            # The classical Runge-Kutta method of fourth order, for x' = v and v' = a.
            a1 = acceleration(t, x, v)
            v2 = v + a1 * (h / 2)
            a2 = acceleration(t + h / 2, x + v * (h / 2), v2)
            v3 = v + a2 * (h / 2)
            a3 = acceleration(t + h / 2, x + v2 * (h / 2), v3)
            v4 = v + a3 * h
            a4 = acceleration(t + h, x + v3 * h, v4)
            x = x + (v + (v2 + v3) * 2.0 + v4) * (h / 6)
            v = v + (a1 + (a2 + a3) * 2.0 + a4) * (h / 6)
            positions.append(x)
        return ops.stack(positions)

    def constants(self) -> dict[str, float]:
        """The constants by name, in the units of `UNITS`."""
        return {name: math.exp(log.item()) for name, log in self.logs.items()}


def main() -> None:
    """Make samples, fit, draw, and print the constants."""
    options = parse(__doc__ or "", "fit_oscillator", EPOCHS)
    backend: Autodiff[Backend] = Autodiff(options.backend)
    clean_motion = Oscillator(TRUTH, backend)().numpy()
    chance = np.random.default_rng(options.seed)
    samples = clean_motion + chance.normal(0.0, NOISE, clean_motion.shape)
    measured = born.tensor(samples, backend)
    model = Oscillator(START, backend)
    guess = model().numpy()
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=LEARNING_RATE))

    def epoch(_: int) -> Metrics:
        with backend.tape:
            loss = nn.mse_loss(model(), measured)
        optimizer.step(backward(loss))
        return {"loss": loss.item(), **model.constants()}

    history = Training(options, model, optimizer).run(epoch)
    save(figure(samples, guess, model().numpy(), history), options.output)
    print(f"{'':10} {'start':>7} {'fitted':>8} {'true':>7}")
    for name, fitted in model.constants().items():
        print(f"{name:10} {START[name]:7.3f} {fitted:8.3f} {TRUTH[name]:7.3f} {UNITS[name]}")


def figure(samples: Samples, guess: Samples, fit: Samples, history: list[Metrics]) -> Any:
    """The motion with its fit, and the three constants over the epochs."""
    canvas = figures.Figure(figsize=(13, 5.2), layout="constrained")
    left, right = canvas.subplots(1, 2, width_ratios=(1.5, 1.0))
    times = STEP * np.arange(1, STEPS + 1)
    left.plot(times, samples, ".", color=GREY, ms=5, label="noisy samples")
    left.plot(times, guess, "--", color=ORANGE, lw=1.2, label="first guess")
    left.plot(times, fit, color=BLUE, lw=1.8, label="fit")
    clean(left, "a force of rising pitch drives the oscillator", "time in s", "position in m")
    left.legend(frameon=False, loc="upper left")
    epochs = range(1, len(history) + 1)
    # Mass and stiffness nearly coincide; dashes let both be seen.
    styles = ((BLUE, "-"), (ORANGE, "-"), (RED, "--"))
    for (name, true), (colour, line) in zip(TRUTH.items(), styles, strict=True):
        values = [row[name] / true for row in history]
        right.plot(epochs, values, line, color=colour, label=name)
    right.axhline(1.0, color=INK, lw=0.8, ls=":")
    clean(right, "the constants over the epochs", "epoch", "fitted / true")
    right.legend(frameon=False)
    return canvas


if __name__ == "__main__":
    main()
