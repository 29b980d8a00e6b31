"""The handwritten digits: loading, and a picture of what a model reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from common import BLUE, GREY, INK, ORANGE, RED, Metrics, clean, extra, figures, save

datasets = extra("sklearn.datasets")
model_selection = extra("sklearn.model_selection")

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

SIDE: Final = 8  # pixels along each side of an image
BRIGHTEST: Final = 16  # the largest pixel in scikit-learn's digits
TEST_SHARE: Final = 0.2
VALIDATION_SHARE: Final = 0.1  # of the others
SPLIT_SEED: Final = 0  # not --seed, so that all runs share their test digits


@dataclass(frozen=True)
class Digits:
    """Handwritten digits in three parts: images (n, 64) from 0 to 1, labels (n,).

    Settings are chosen by the validation digits; the test digits are read once, at the end.
    """

    train_images: Images
    train_labels: Labels
    validation_images: Images
    validation_labels: Labels
    test_images: Images
    test_labels: Labels


def load() -> Digits:
    """The 1,797 handwritten digits that come with scikit-learn, a fifth of them for testing.

    A tenth of the others are for validation.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI
    Machine Learning Repository (1998).
    """
    images, labels = datasets.load_digits(return_X_y=True)
    images, labels = (images / BRIGHTEST).astype(np.float32), labels.astype(np.int64)
    rest, test_images, rest_labels, test_labels = _split(images, labels, TEST_SHARE)
    train, validation, train_labels, validation_labels = _split(rest, rest_labels, VALIDATION_SHARE)
    return Digits(train, train_labels, validation, validation_labels, test_images, test_labels)


def _split(images: Images, labels: Labels, share: float) -> tuple[Images, Images, Labels, Labels]:
    first, second, first_labels, second_labels = model_selection.train_test_split(
        images, labels, test_size=share, random_state=SPLIT_SEED, stratify=labels
    )
    return first, second, first_labels, second_labels


GRID_ROWS: Final = 5
GRID_COLUMNS: Final = 8


def draw(path: Path, history: list[Metrics], data: Digits, predicted: Labels) -> None:
    """Write the loss curve and test digits with their predictions as a PNG."""
    figure = figures.Figure(figsize=(13, 5.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.25))
    _draw_losses(left.subplots(), history)
    wrong = np.flatnonzero(predicted != data.test_labels)
    right.suptitle(
        f"{wrong.size} of {predicted.size} test digits read wrong; above each, what was read",
        color=INK,
        fontsize=12,
    )
    # The mistakes come first, but fill at most half of the grid.
    cells = GRID_ROWS * GRID_COLUMNS
    correct = np.flatnonzero(predicted == data.test_labels)
    shown = np.concatenate([wrong[: cells // 2], correct, wrong[cells // 2 :]])[:cells]
    for axes, index in zip(right.subplots(GRID_ROWS, GRID_COLUMNS).flat, shown, strict=True):
        _draw_digit(
            axes, data.test_images[index], int(predicted[index]), int(data.test_labels[index])
        )
    save(figure, path)


def _draw_losses(axes: Any, history: list[Metrics]) -> None:
    epochs = range(1, len(history) + 1)
    marker = "o" if len(history) == 1 else "none"  # one point makes no line
    for name, colour in (("loss", BLUE), ("validation_loss", ORANGE)):
        label = "training" if name == "loss" else "validation"
        axes.plot(epochs, [row[name] for row in history], color=colour, marker=marker, label=label)
    axes.set_yscale("log")
    clean(axes, "loss (training: with dropout)", "epoch", "cross-entropy in nats per digit")
    axes.legend(frameon=False)


def _draw_digit(axes: Any, image: Images, predicted: int, label: int) -> None:
    axes.imshow(image.reshape(SIDE, SIDE), cmap="gray_r", vmin=0.0, vmax=1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    right = predicted == label
    axes.set_title(
        f"{predicted}" if right else f"{predicted}, is {label}",
        fontsize=10,
        color=INK if right else RED,
        fontweight="normal" if right else "bold",
        pad=3,
    )
    axes.spines[:].set_color(GREY if right else RED)
    axes.spines[:].set_linewidth(0.6 if right else 2.4)
