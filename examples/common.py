"""What the examples share: arguments, the loop over epochs, and the style of pictures."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic

from arguments import at_least, usable

import born
from born import nn, optim
from born.backend import B, Backend
from born.checkpoint import Store
from born.data import DataLoader
from born.errors import CheckpointError, CheckpointWriteError


def extra(module: str) -> Any:
    """A module that only the examples need; if it is missing, exit and say what to install.

    The packages of the `examples` extra have few types or none, hence Any.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        sys.exit(
            f"the examples need the package {error.name}, which is not installed; "
            'in the folder of the checkout run: pip install -e ".[examples]"'
        )


figures = extra("matplotlib.figure")
threads = extra("threadpoolctl")  # comes with scikit-learn

INTERRUPTED: Final = 130  # what a shell reports for a program that Ctrl-C ended: 128 + SIGINT

Metrics = dict[str, float]
"""What an epoch reports: name -> figure."""


# -- arguments -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """The arguments of an example."""

    backend: Backend
    epochs: int
    seed: int
    store: Store | None
    resume: bool
    output: Path


def parse(
    description: str, name: str, epochs: int, arguments: Sequence[str] | None = None
) -> Options:
    """The arguments of the example `name`; exit with a message if they are wrong."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--backend",
        type=usable,
        default="auto",
        metavar="NAME",
        help="what computes, such as numpy (%(default)s)",
    )
    parser.add_argument(
        "--epochs", type=at_least(1), default=epochs, metavar="N", help="how many (%(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="seed of all random numbers (%(default)s)",
    )
    parser.add_argument(
        "--checkpoint-dir", type=Path, metavar="DIR", help=f"save every epoch in DIR/{name}"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint there"
    )
    parser.add_argument(
        "--output", type=Path, default=f"{name}.png", metavar="PNG", help="picture (%(default)s)"
    )
    given = parser.parse_args(arguments)
    if given.output.suffix != ".png" or given.output.is_dir():
        parser.error(f"expected --output to name a .png file, got {given.output}")
    if given.resume and given.checkpoint_dir is None:
        parser.error("--resume needs --checkpoint-dir, the folder given when training began")
    try:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        if (
            given.checkpoint_dir is not None and not given.resume
        ):  # fails now rather than after an epoch
            given.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        store = given.checkpoint_dir and Store(given.checkpoint_dir / name)
        if store is not None and store.latest() is not None and not given.resume:
            parser.error(
                f"expected --resume, or a --checkpoint-dir without checkpoints of {name}, got "
                f"{given.checkpoint_dir}; a new training would delete what is there"
            )
    except (CheckpointError, OSError) as error:
        parser.error(str(error))
    # On a busy machine, two threads of BLAS wait for each other far longer than these small
    # matrices take to multiply.
    threads.threadpool_limits(limits=1, user_api="blas")
    given.backend.seed(given.seed)
    return Options(given.backend, given.epochs, given.seed, store, given.resume, given.output)


# -- training --------------------------------------------------------------------------------


@dataclass
class Training(Generic[B]):
    """A training run: it resumes, runs epochs, reports them and saves after each."""

    options: Options
    model: nn.Module[B]
    optimizer: optim.Optimizer[B]
    loader: DataLoader[Any] | None = None

    def run(self, epoch: Callable[[int], Metrics]) -> list[Metrics]:
        """Call `epoch(1)`, `epoch(2)`, ... and return what each reported.

        A resumed training returns the reports from before as well.
        """
        store = self.options.store
        history = self._resumed() if self.options.resume else []
        try:
            # The store waits at its end for what is being written.
            with store or nullcontext():
                left = range(len(history) + 1, self.options.epochs + 1)
                epochs = born.progress(left, "epoch", done=len(history))
                for number in epochs:
                    report = epoch(number)
                    self._save(number, [*history, report])
                    history.append(report)
                    epochs.show(report)
        except KeyboardInterrupt:
            print(f"\ninterrupted in epoch {len(history) + 1}; {self._hint()}")
            sys.exit(INTERRUPTED)
        except CheckpointWriteError as error:
            sys.exit(f"cannot save: {error}")
        if store is not None:
            print(f"saved {store.latest()}")
        return history

    def _save(self, number: int, history: list[Metrics]) -> None:
        if self.options.store is not None:
            self.options.store.save(
                number,
                model=self.model,
                optimizer=self.optimizer,
                data=self.loader,
                metadata={"seed": self.options.seed, "history": history, **history[-1]},
                background=True,
            )

    def _resumed(self) -> list[Metrics]:
        store = self.options.store
        assert store is not None  # `parse` checks
        try:
            metadata = store.restore(model=self.model, optimizer=self.optimizer, data=self.loader)
        except CheckpointError as error:
            sys.exit(f"cannot resume: {error}")
        if metadata["seed"] != self.options.seed:
            sys.exit(
                f"cannot resume: expected --seed {metadata['seed']}, with which the checkpoint "
                f"was made, got --seed {self.options.seed}"
            )
        history: list[Metrics] = metadata["history"]
        print(f"resumed after epoch {len(history)} from {store.directory}")
        return history

    def _hint(self) -> str:
        if self.options.store is None:
            return "nothing was saved: with --checkpoint-dir DIR it could go on"
        saved = self.options.store.latest()
        if saved is None:
            return "no epoch was finished, so nothing was saved"
        again = [*sys.argv, *([] if self.options.resume else ["--resume"])]
        return f"saved {saved}\nto go on:\n  python {shlex.join(again)}"


# -- pictures --------------------------------------------------------------------------------

INK: Final = "#1b1f24"
BLUE: Final = "#2563a6"
ORANGE: Final = "#d9822b"
RED: Final = "#c62828"
GREY: Final = "#8a929a"


def clean(axes: Any, title: str, x: str, y: str) -> None:
    """Label a plot and remove what it does not need."""
    axes.set_title(title, loc="left", fontsize=12, color=INK)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def save(figure: Any, path: Path) -> None:
    """Write a figure and say where."""
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")
