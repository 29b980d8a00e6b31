"""Train a small convolution network to read handwritten digits from slightly shifted images.

It prints the test accuracy last, and writes a picture of the loss and of test digits
with their predictions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from common import Metrics, Training, parse
from digits import SIDE, Images, draw, load

import born
from born import nn, optim
from born.autodiff import Autodiff
from born.backend import Backend
from born.data import DataLoader

EPOCHS: Final = 30
BATCH: Final = 32
LEARNING_RATE: Final = 3e-3
DECAY: Final = 0.92  # of the learning rate, from each epoch to the next
LARGEST_SHIFT: Final = 1  # pixels, each way


def make_model(backend: Autodiff[Backend]) -> nn.Sequential[Autodiff[Backend]]:
    """One channel of 8 by 8 pixels in, a score for each of the ten digits out."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, backend, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, backend, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 4 * 4, 128, backend, activation="relu"),
        nn.Linear(128, 10, backend),
    )


def as_channels(images: Images) -> Images:
    """Rows of 64 pixels as (n, 1, 8, 8)."""
    return images.reshape(-1, 1, SIDE, SIDE)


def shifted(images: Images, chance: np.random.Generator) -> Images:
    """Each image moved by up to `LARGEST_SHIFT` pixels."""
    margin = LARGEST_SHIFT
    padded = np.pad(images, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    corners = chance.integers(0, 2 * margin + 1, size=(len(images), 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(2, 3))
    return windows[np.arange(len(images)), :, corners[:, 0], corners[:, 1]]


def main() -> None:
    """Train, draw, and print the test accuracy."""
    options = parse(__doc__ or "", "digits_cnn", EPOCHS)
    backend = Autodiff(options.backend)
    data = load()
    samples = (as_channels(data.train_images), data.train_labels)
    loader = DataLoader(samples, BATCH, shuffle=True, seed=options.seed)
    validation_images = born.tensor(as_channels(data.validation_images), backend)
    validation_labels = born.tensor(data.validation_labels, backend)
    model = make_model(backend)
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=LEARNING_RATE))

    def epoch(number: int) -> Metrics:
        model.train()
        optimizer.lr = LEARNING_RATE * DECAY ** (number - 1)
        total = 0.0
        for images, labels in loader:
            # Of the position, so that a resumed training shifts the images as it would have.
            chance = np.random.default_rng([options.seed, loader.epoch, loader.batch])
            with backend.tape:
                logits = model(born.tensor(shifted(images, chance), backend))
                loss = nn.cross_entropy(logits, born.tensor(labels, backend))
            # Accumulates gradients; digits_mlp.py passes a map of them instead.
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() * len(labels)
        logits = model.eval()(validation_images)
        return {
            "loss": total / loader.size,
            "validation_loss": nn.cross_entropy(logits, validation_labels).item(),
        }

    history = Training(options, model, optimizer, loader).run(epoch)
    # The test digits are read here, and nowhere before.
    logits = model.eval()(born.tensor(as_channels(data.test_images), backend))
    draw(options.output, history, data, logits.numpy().argmax(axis=-1))
    accuracy = nn.accuracy(logits, born.tensor(data.test_labels, backend))
    print(f"test accuracy: {accuracy:.2%}")


if __name__ == "__main__":
    main()
