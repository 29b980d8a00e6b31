"""Find out when a casino's die is loaded: a hidden Markov model, fitted by gradients.

The die is fair or loaded, and changed now and then; only its throws are seen. The forward
algorithm, a `scan`, adds up the probabilities of all sequences of dice. Its derivative by the
log-probability of a throw is the probability of the die (Eisner, 2016, "Inside-outside and
forward-backward algorithms are just backprop").

    python examples/hidden_markov.py [--throws 1000] [--steps 60] [--backend auto]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from arguments import parsed

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, grad, scan, value_and_grad
from born.backend import B


class HiddenMarkov(nn.Module[B]):
    """Hidden states and the faces seen; all probabilities are held as logits."""

    def __init__(self, states: int, faces: int, backend: B) -> None:
        self.initial = nn.Parameter(born.zeros(states, backend))
        self.transition = nn.Parameter(2.0 * born.eye(states, backend))
        self.emission = nn.Parameter(0.5 * born.randn((states, faces), backend))

    def throws(self, seen: born.Tensor[B]) -> born.Tensor[B]:
        """The log-probabilities of throws, of shape (throws, states)."""
        return ops.transpose(ops.log_softmax(self.emission))[seen]

    def evidence(self, throws: born.Tensor[B]) -> born.Tensor[B]:
        """The log-probability of all throws together, given those of each."""
        change = ops.log_softmax(self.transition)

        def step(alpha: born.Tensor[B], throw: born.Tensor[B]) -> tuple[born.Tensor[B], None]:
            return ops.logsumexp(ops.expand_dims(alpha, 1) + change, axis=0) + throw, None

        first = ops.log_softmax(self.initial) + throws[0]
        return ops.logsumexp(scan(step, first, throws[1:])[0])


def surprise(model: HiddenMarkov[B], seen: born.Tensor[B]) -> born.Tensor[B]:
    """That of a throw on average, in bits."""
    return model.evidence(model.throws(seen)) / (-len(seen) * math.log(2))


def simulate(throws: int, seed: int = 0) -> tuple[Any, Any]:
    """Whether the die is loaded, and the faces: the loaded one shows a six half of the time."""
    draw = np.random.default_rng(seed)
    loaded = np.logical_xor.accumulate(draw.random(throws) < 0.03)
    faces = np.where(loaded & (draw.random(throws) < 0.4), 5, draw.integers(0, 6, throws))
    return loaded, faces


if __name__ == "__main__":
    options = parsed(
        "Find out when a die is loaded.", throws=(1000, "how many"), steps=(60, "updates")
    )
    backend = Autodiff(options.backend)
    loaded, faces = simulate(options.throws)
    model, seen = HiddenMarkov(2, 6, backend), born.tensor(faces, backend)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    for step in range(1, options.steps + 1):
        value, gradients = value_and_grad(surprise)(model, seen)
        optimizer.step(gradients)
        if step % 20 == 0 or step == options.steps:
            print(f"step {step:4}  bits a throw {value.item():.4f}")
    sixes = ops.softmax(model.emission)[:, 5].numpy()
    found = grad(model.evidence)(model.throws(seen)).numpy()[:, sixes.argmax()] > 0.5
    print(f"probability of a six: {sixes.min():.2f} and {sixes.max():.2f} (true: 0.17 and 0.50)")
    print(f"throws whose die is found: {100 * (found == loaded).mean():.1f}%")
