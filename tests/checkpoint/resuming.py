"""The contract of resuming: any number of batches, save, a new process, load, the rest.

`python -m tests.checkpoint.resuming FOLDER BACKEND [--simulator]` is that process. It loads each
checkpoint that `leave` has saved in the folder, goes on to the end, and compares with what was
never stopped.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

import born
from born import checkpoint, nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.data import DataLoader, prefetch
from born.optim import schedules
from tests.optim.making import ADAM, CONFIGS, make

Recording = Autodiff[Backend]

BATCHES: Final = 7
"""Of each run: more than an epoch, which has four, the last one smaller."""

_DRAWN: Final = np.random.Generator(np.random.PCG64(3))
_DATA: Final = (
    _DRAWN.normal(size=(15, 3)).astype(np.float32),
    _DRAWN.integers(0, 4, 15),
)


class Net(nn.Module[Recording]):
    """Dropout, so that random numbers matter, and a parameter that is not used at first."""

    def __init__(self, backend: Recording, dtype: str) -> None:
        self.first = nn.Linear(3, 5, backend, dtype=dtype)
        self.dropout = nn.Dropout(0.3)
        self.last = nn.Linear(5, 4, backend, dtype=dtype)
        self.late = nn.Parameter(born.ones((4,), backend, dtype))

    def forward(self, x: born.Tensor[Recording], late: bool) -> born.Tensor[Recording]:
        y = self.last(self.dropout(self.first(x).tanh()))
        return y * self.late if late else y


@dataclass
class Run:
    """A training run, batch by batch."""

    backend: Recording
    model: Net
    optimizer: optim.Optimizer[Recording]
    loader: DataLoader[Any]
    train: Callable[[Run, born.Tensor[Recording], int], None]
    dtype: str
    number: int = 0

    def go(self, batches: int) -> None:
        """Train on the next batches."""
        while batches:
            for images, labels in prefetch(self.loader, self.backend):
                with self.backend.tape:
                    logits = self.model(images.astype(self.dtype), self.number > 2)
                    loss = nn.cross_entropy(logits.astype("float32"), labels)
                self.train(self, loss, self.number)
                self.number += 1
                batches -= 1
                if not batches:
                    return

    def save(self, path: Path) -> None:
        """Save all of it."""
        checkpoint.save(path, **self._parts(), metadata={"number": self.number})

    def load(self, path: Path) -> None:
        """Go on from there."""
        self.number = checkpoint.load(path, **self._parts())["number"]

    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "data": self.loader}

    def digests(self) -> dict[str, str]:
        """All that training changes, each by its bits."""
        found: dict[str, Any] = {
            f"model.{path}": self.backend.to_numpy(raw)
            for path, raw in self.model.state_dict().items()
        }
        for key, raw in self.optimizer.state_dict().items():
            found[f"optimizer.{key}"] = self.backend.to_numpy(raw)
        for path, p in self.model.named_parameters():
            found[f"gradient.{path}"] = None if p.grad is None else p.grad.numpy()
        texts = {"config": self.optimizer.config, "data": self.loader.state_dict()}
        texts |= {"groups": tuple(map(str, self.optimizer.groups))}
        texts |= {"random": dict(self.backend.innermost.random_state), "number": self.number}
        bits = {key: b"" if x is None else x.tobytes() for key, x in found.items()}
        bits |= {key: repr(value).encode() for key, value in texts.items()}
        return {key: hashlib.sha256(data).hexdigest() for key, data in bits.items()}


# -- how a batch is trained on -----------------------------------------------------------------


def plain(run: Run, loss: born.Tensor[Recording], number: int) -> None:
    """A step, with a learning rate that the program sets."""
    if isinstance(run.optimizer.config.lr, float):
        run.optimizer.lr = 0.1 / (1 + number)
    run.optimizer.step(backward(loss))


def scaled(run: Run, loss: born.Tensor[Recording], number: int) -> None:
    """A step with scaled and clipped gradients."""
    run.optimizer.step(backward(loss), scale=1.0 / (1 + number), max_norm=0.05)


def accumulated(run: Run, loss: born.Tensor[Recording], number: int) -> None:
    """A step for every two batches, so that half of the saves find gradients under way."""
    loss.backward()
    if number % 2:
        run.optimizer.step(scale=0.5)
        run.optimizer.zero_grad()


def forgotten(run: Run, loss: born.Tensor[Recording], number: int) -> None:
    """Gradients that are forgotten before the next batch and not after the step."""
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()


def observed(run: Run, loss: born.Tensor[Recording], number: int) -> None:
    """A step with the learning rate of a schedule, which may look at the loss."""
    run.optimizer.step(backward(loss))
    if "Plateau" in repr((run.optimizer.config, run.optimizer.groups)):
        run.optimizer.observe(loss.item())


def broken(run: Run, loss: born.Tensor[Recording], number: int) -> None:
    """A step by gradients that are not finite in every third batch."""
    factor = float("nan") if number % 3 == 1 else 1.0
    run.optimizer.step(backward(loss) * factor, max_norm=0.5)


TRAININGS: Final = {
    each.__name__: each for each in (plain, scaled, accumulated, forgotten, observed, broken)
}

SCHEDULES: Final = (
    schedules.Constant(0.3),
    schedules.Cosine(0.8, steps=6, warmup=2),
    schedules.Exponential(0.8, 0.9),
    schedules.InverseSqrt(0.8, warmup=4),
    schedules.Linear(0.2, 0.8, steps=5),
    schedules.MultiStep(0.8, after=(1, 3), factor=0.3),
    schedules.OneCycle(0.8, steps=6, rise=0.33),
    schedules.Piecewise(((1, 0.8), (4, 0.4))),
    schedules.Plateau(0.8, factor=0.5, patience=0, cooldown=1),
    schedules.Polynomial(0.8, 0.0, steps=5, power=2.5),
    schedules.Product((schedules.Cosine(1.0, steps=5), schedules.Plateau(0.5, patience=0))),
    schedules.Sequence((schedules.Linear(0.0, 0.8, steps=3), schedules.Constant(0.8)), after=(3,)),
    schedules.Step(0.8, every=2, factor=0.3),
    schedules.WarmupStableDecay(0.8, steps=6, warmup=2, decay=2),
)
"""One of every kind."""


@cache
def _kind(backend_name: str) -> Callable[..., Backend]:
    """The class of a backend; to find it takes longer than a run."""
    return type(born.get_backend(backend_name))


@dataclass(frozen=True)
class Case:
    """A config, how its optimizer is used, and what goes around it."""

    config: optim.Config
    training: str = "plain"
    dtype: str = "float32"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def make(self, backend_name: str, seed: int) -> Run:
        """A run that has not begun; another seed has other weights and random numbers."""
        backend = Autodiff(_kind(backend_name)(seed=seed))
        model = Net(backend, self.dtype)
        loader = DataLoader(_DATA, 4, shuffle=True, seed=7)
        optimizer = make(self.config, model.parameters(), **self.options)
        return Run(backend, model, optimizer, loader, TRAININGS[self.training], self.dtype)


def is_bias(name: str, parameter: nn.Parameter[Any]) -> bool:
    """What a group may select by."""
    return name.endswith("bias")


def around(rule: optim.Rule) -> optim.Rule:
    """Something of everything that a rule may have around it."""
    rule = optim.noisy(optim.warm_state(optim.lookahead(optim.centralized(rule), k=2), 1), 0.1)
    rule = optim.clip_step(optim.clipped(rule, adaptive=0.1), value=0.05)
    return optim.accumulated(optim.averaged(optim.cautious(rule)), 2)


OPTIONS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "groups": (
            optim.Group(is_bias, weight_decay=0.0, lr=schedules.Linear(0.3, 0.0, steps=9)),
            optim.Group("first.weight", freeze=True),
            optim.Group("late", lr_scale=schedules.Plateau(0.5, patience=0)),
        )
    },
    {"groups": (optim.Group("*.weight", config=optim.MuonConfig()), optim.Group("late", lr=0.2))},
    {"accumulate": 3, "average": 0.5, "max_norm": 0.05},
    {"average": "uniform", "wrappers": (optim.lookahead,)},
    {"wrappers": (around,), "nonfinite": "skip"},
)
"""Keywords of an optimizer."""
PRECISE: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("plain", "bfloat16", {"parameters": "stochastic"}),
    ("plain", "bfloat16", {"parameters": "kahan", "slots": "float8_e5m2"}),
    ("plain", "float16", {"parameters": "master"}),
    ("scaled", "float32", {"slots": "int8"}),
)
"""How to train, the dtype, and what is done about few digits."""

SCALED: Final = {
    "loss_scale": optim.LossScale(interval=2),
    "precision": optim.Precision(parameters="master", slots="int8"),
}

CASES: Final = (
    *(Case(config) for config in CONFIGS),
    *(
        Case(ADAM, training)
        for training in TRAININGS
        if training not in ("plain", "observed", "broken")
    ),
    *(Case(ADAM, "accumulated", dtype) for dtype in ("float16", "float64")),
    *(Case(ADAM.replace(lr=schedule), "observed") for schedule in SCHEDULES),
    Case(ADAM.replace(lr=SCHEDULES[1]), "observed", options=OPTIONS[0]),
    *(Case(ADAM, options=options) for options in OPTIONS),
    *(Case(optim.LAMBConfig(), "scaled", options=options) for options in OPTIONS[2:4]),
    Case(ADAM, dtype="bfloat16", options=OPTIONS[2]),
    *(Case(ADAM, "broken", options={"nonfinite": each}) for each in ("skip", "zero", "keep")),
    *(
        Case(ADAM, training, dtype, {"precision": optim.Precision(**fields)})
        for training, dtype, fields in PRECISE
    ),
    Case(
        ADAM,
        "broken",
        options={
            "projections": (optim.Box("*.weight", low=-0.5, high=0.5), optim.NonNegative("late")),
            "average": schedules.Linear(0.1, 0.9, steps=5),
            "wrappers": (optim.lookahead,),
            "nonfinite": "keep",
            "watch": ("update_ratio",),
        },
    ),
    Case(ADAM, "broken", "float16", SCALED),
    Case(ADAM, "plain", "float16", {**SCALED, **OPTIONS[2]}),
)


def leave(folder: Path, backend_name: str) -> None:
    """Run each case to its end, with a checkpoint after each number of batches."""
    expected: list[dict[str, str]] = []
    for place, case in enumerate(CASES):
        run = case.make(backend_name, seed=0)
        for stop in range(BATCHES + 1):
            run.save(folder / f"{place}-{stop}.safetensors")
            run.go(1 if stop < BATCHES else 0)
        expected.append(run.digests())
    (folder / "expected.json").write_text(json.dumps(expected))


def differences(folder: Path, backend_name: str) -> list[str]:
    """What differs after going on from each of the checkpoints."""
    expected = json.loads((folder / "expected.json").read_text())
    lines: list[str] = []
    for place, case in enumerate(CASES):
        for stop in range(BATCHES + 1):
            run = case.make(backend_name, seed=1)
            run.go(1)  # whatever this leaves is replaced
            run.load(folder / f"{place}-{stop}.safetensors")
            run.go(BATCHES - stop)
            found = run.digests()
            lines += [
                f"{case}, after {stop} batches: {key}"
                for key in sorted({*found, *expected[place]})
                if found.get(key) != expected[place].get(key)
            ]
    return lines


def main(folder: str, backend_name: str, *options: str) -> None:
    """Print what differs; nothing else."""
    if "--simulator" in options:
        importlib.import_module("tests.simulator").install_for_good()
    sys.stdout.write("".join(f"{line}\n" for line in differences(Path(folder), backend_name)))


if __name__ == "__main__":
    main(*sys.argv[1:])
