"""A whole training on handwritten digits, beside scikit-learn's MLPClassifier.

The same network, batches of the same size in a new order in each epoch, the same number of
epochs, Adam with the same settings, no weight decay, float32. Each makes its own first weights
and draws its own order, so that losses differ and the accuracy on digits held back is compared.
A step of this benchmark is the training from its beginning: making the model, shuffling and
cutting batches included.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import born
from benchmarks.classifier import LEARNING_RATE, Images, Labels
from benchmarks.clocks import Step
from benchmarks.harness import Entry, Skipped, Work
from benchmarks.libraries import INSTALL, Place, born_entries, entry
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend

_HIDDEN: Final = 128
_BATCH: Final = 32
_EPOCHS: Final = 40
_SEED: Final = 0

_BRIGHTEST: Final = 16  # the largest pixel in scikit-learn's digits
_CLASSES: Final = 10
_TEST_SHARE: Final = 0.2

GOAL: Final = 0.97
"""The share of digits held back that has to be read rightly."""

_TOLERANCE: Final = 0.03
"""Between accuracies: of 360 digits, ten. Trainings from different first weights differ by five."""


@dataclass(frozen=True, slots=True)
class Digits:
    """Images (n, 64) from 0 to 1 and labels (n,), to train on and held back."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels

    def accuracy(self, chosen: npt.NDArray[Any]) -> np.float64:
        """The share of the digits held back for which the right class is chosen."""
        return np.float64((chosen == self.test_labels).mean())


def works(here: Place) -> list[Work]:
    """The training, and whether it led anywhere."""
    return [
        Work(
            f"digits 64-{_HIDDEN}-{_CLASSES}, {_EPOCHS} epochs",
            functools.partial(entries, here),
            tolerance=_TOLERANCE,
            checked=1,
            remark=remark,
        )
    ]


def remark(accuracy: float) -> str:
    """What to say of an accuracy.

    >>> remark(0.975), remark(0.951)
    ('reads 97.5%', 'reads 95.1%, short of 97%')
    """
    short = "" if accuracy >= GOAL else f", short of {GOAL:.0%}"
    return f"reads {accuracy:.1%}{short}"


def entries(here: Place, epochs: int = _EPOCHS) -> list[Entry]:
    """born on each backend, and scikit-learn, from which the digits are."""
    try:
        digits = load()
    except ImportError as error:
        return [Skipped("all", f"{error}; scikit-learn has the digits; run: {INSTALL}")]
    return [
        *born_entries(here, functools.partial(born_training, digits, epochs)),
        entry(
            "scikit-learn",
            ["sklearn.neural_network", "sklearn.exceptions"],
            functools.partial(sklearn_training, digits, epochs),
        ),
    ]


def load() -> Digits:
    """The 1,797 handwritten digits that come with scikit-learn, a fifth of them held back.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI
    Machine Learning Repository (1998).
    """
    datasets: Any = importlib.import_module("sklearn.datasets")
    selection: Any = importlib.import_module("sklearn.model_selection")
    images, labels = datasets.load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = selection.train_test_split(
        (images / _BRIGHTEST).astype(np.float32),
        labels.astype(np.int64),
        test_size=_TEST_SHARE,
        random_state=_SEED,
        stratify=labels,
    )
    return Digits(train_images, train_labels, test_images, test_labels)


def born_training(digits: Digits, epochs: int, inner: Backend) -> Callable[[], np.float64]:
    """The training in born."""

    def train() -> np.float64:
        inner.seed(_SEED)
        backend = Autodiff(inner)
        pixels = digits.train_images.shape[1]
        model = nn.Sequential(
            nn.Linear(pixels, _HIDDEN, backend, activation="relu"),
            nn.Linear(_HIDDEN, _CLASSES, backend),
        )
        optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=LEARNING_RATE))
        draw = np.random.default_rng(_SEED)
        for _ in range(epochs):
            order = draw.permutation(len(digits.train_images))
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                images = born.tensor(digits.train_images[rows], backend)
                labels = born.tensor(digits.train_labels[rows], backend)
                with backend.tape:
                    loss = nn.cross_entropy(model(images), labels)
                optimizer.step(backward(loss))
        scores = model(born.tensor(digits.test_images, backend)).numpy()
        return digits.accuracy(scores.argmax(axis=1))

    return train


def sklearn_training(digits: Digits, epochs: int, networks: Any, exceptions: Any) -> Step:
    """The training in scikit-learn, kept from stopping before the last epoch."""

    def train() -> np.float64:
        model = networks.MLPClassifier(
            (_HIDDEN,),
            batch_size=_BATCH,
            learning_rate_init=LEARNING_RATE,
            alpha=0.0,
            max_iter=epochs,
            tol=0.0,
            n_iter_no_change=epochs + 1,
            random_state=_SEED,
        )
        with warnings.catch_warnings():
            # Being stopped after `max_iter` epochs is what was asked for.
            warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
            model.fit(digits.train_images, digits.train_labels)
        return digits.accuracy(model.predict(digits.test_images))

    return train
