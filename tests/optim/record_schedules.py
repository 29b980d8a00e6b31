"""Record the schedules of PyTorch, Optax and Hugging Face, for tests that run without them.

Run `python -m tests.optim.record_schedules`, with the versions of the extra `parity`. Each row is
what theirs gives for their counts 0, 1, 2, ...; test_schedules.py holds born's.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

RECORDED: Final = Path(__file__).with_name("schedules.npz")

COUNTS: Final = 50

METRICS: Final = (3, 2, 2, 1.9999, 2.5, math.nan, 1, 1, 1.1, 4, 0.5, 0.6, 0.6, 0.6, 0.6)
"""What is shown to schedules that look at a metric."""


def torch_schedulers(s: Any) -> dict[str, Callable[[Any], Any]]:
    """From an optimizer whose learning rate is 0.8 to the scheduler."""
    return {
        "step": lambda o: s.StepLR(o, 7, gamma=0.3),
        "multi-step": lambda o: s.MultiStepLR(o, [3, 10, 30], gamma=0.3),
        "exponential": lambda o: s.ExponentialLR(o, 0.9),
        "linear": lambda o: s.LinearLR(o, 0.25, 1.0, total_iters=25),
        "polynomial": lambda o: s.PolynomialLR(o, 25, power=2.5),
        "cosine": lambda o: s.LambdaLR(o, cosine_until(s, 25)),
        "restarts": lambda o: s.CosineAnnealingWarmRestarts(o, 10, eta_min=0.1),
        "restarts doubling": lambda o: s.CosineAnnealingWarmRestarts(o, 7, T_mult=2, eta_min=0.1),
        "one-cycle": lambda o: s.OneCycleLR(o, 0.8, COUNTS, pct_start=0.33),
        "one-cycle linear": lambda o: s.OneCycleLR(o, 0.8, COUNTS, anneal_strategy="linear"),
        "one-cycle in three": lambda o: s.OneCycleLR(
            o, 0.8, COUNTS, pct_start=0.33, div_factor=10.0, three_phase=True
        ),
        "sequence": lambda o: s.SequentialLR(
            o, [s.LinearLR(o, 0.1, total_iters=10), s.ExponentialLR(o, 0.9)], milestones=[10]
        ),
    }


def cosine_until(s: Any, steps: int) -> Callable[[int], float]:
    """The factors of CosineAnnealingLR, which would rise again after `steps`, and of its floor."""
    torch: Any = importlib.import_module("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
    values = list(followed(optimizer, s.CosineAnnealingLR(optimizer, steps, eta_min=0.1), steps))
    return lambda count: (values[count] if count < steps else 0.1) / 0.8


def followed(optimizer: Any, scheduler: Any, counts: int = COUNTS) -> Iterator[float]:
    """The learning rate of each step of a PyTorch optimizer under a scheduler."""
    for _ in range(counts):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


def torch_plateaus() -> dict[str, dict[str, Any]]:
    """The options of ReduceLROnPlateau."""
    plain: dict[str, Any] = {"factor": 0.5, "patience": 1, "eps": 0.0}
    return {
        "plateau": plain,
        "plateau with cooldown": {**plain, "cooldown": 2, "patience": 0, "min_lr": 0.3},
        "plateau of differences": {**plain, "threshold": 0.3, "threshold_mode": "abs"},
        "plateau of an accuracy": {**plain, "mode": "max", "patience": 3},
    }


def optax_schedules(o: Any) -> dict[str, Callable[[int], Any]]:
    """Optax's schedules by what is special about them."""
    return {
        "optax polynomial": o.polynomial_schedule(0.8, 0.1, 2.5, 25),
        "optax linear": o.linear_schedule(0.2, 0.8, 25),
        "optax exponential": o.exponential_decay(0.8, 5, 0.5, end_value=0.05),
        "optax staircase": o.exponential_decay(0.8, 5, 0.5, staircase=True),
        "optax cosine": o.cosine_decay_schedule(0.8, 25, alpha=0.125),
        "optax warm-up": o.warmup_cosine_decay_schedule(0.0, 0.8, 10, 26, end_value=0.1),
        "optax one-cycle": o.cosine_onecycle_schedule(45, 0.8, pct_start=0.33),
        "optax one-cycle in three": o.linear_onecycle_schedule(45, 0.8, div_factor=10.0),
        "optax constants": o.piecewise_constant_schedule(0.8, {3: 0.5, 10: 0.1}),
        "optax cosines": o.piecewise_interpolate_schedule("cosine", 0.8, {5: 0.5, 20: 2.0}),
        "optax lines": o.piecewise_interpolate_schedule("linear", 0.8, {5: 0.5, 20: 2.0}),
        "optax join": o.join_schedules(
            [o.linear_schedule(0.0, 0.8, 10), o.exponential_decay(0.8, 1, 0.9)], [10]
        ),
    }


def main() -> None:
    """Write the file that the tests read."""
    torch, optax = (importlib.import_module(name) for name in ("torch", "optax"))
    rows: dict[str, Any] = {}
    schedulers: Any = importlib.import_module("torch.optim.lr_scheduler")
    for name, make in torch_schedulers(schedulers).items():
        optimizer: Any = torch.optim.SGD([torch.zeros(1)], lr=0.8)
        scheduler = make(optimizer)
        steps = COUNTS - 1 if "one-cycle" in name else COUNTS
        rows[name] = np.array([*followed(optimizer, scheduler, steps)])
    for name, options in torch_plateaus().items():
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
        scheduler = schedulers.ReduceLROnPlateau(optimizer, **options)
        row: list[float] = []
        for metric in METRICS:
            scheduler.step(metric)
            row.append(optimizer.param_groups[0]["lr"])
        rows[name] = np.array(row)
    for name, schedule in optax_schedules(optax).items():
        rows[name] = np.array([float(schedule(count)) for count in range(COUNTS)])
    np.savez_compressed(
        RECORDED,
        allow_pickle=False,
        **rows,
        torch_version=np.array(torch.__version__),
        optax_version=np.array(optax.__version__),
    )


if __name__ == "__main__":
    main()
