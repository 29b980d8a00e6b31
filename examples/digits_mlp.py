"""Train a small network to read 1,797 real handwritten digits, and say how well it reads new ones.

It prints the test accuracy last, and writes a picture of the loss and of test digits
with their predictions.
"""

from __future__ import annotations

from typing import Final

from common import Metrics, Training, parse
from digits import draw, load

import born
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.data import DataLoader, prefetch

EPOCHS: Final = 40
BATCH: Final = 32
LEARNING_RATE: Final = 2e-3
DECAY: Final = 0.95  # of the learning rate, from each epoch to the next


def make_model(backend: Autodiff[Backend]) -> nn.Sequential[Autodiff[Backend]]:
    """64 pixels in, a score for each of the ten digits out."""
    return nn.Sequential(
        nn.Dropout(0.1),  # a pen that skips
        nn.Linear(64, 256, backend, activation="relu"),
        nn.Dropout(0.3),
        nn.Linear(256, 128, backend, activation="relu"),
        nn.Dropout(0.3),
        nn.Linear(128, 10, backend),
    )


def main() -> None:
    """Train, draw, and print the test accuracy."""
    options = parse(__doc__ or "", "digits_mlp", EPOCHS)
    backend = Autodiff(options.backend)
    data = load()
    samples = (data.train_images, data.train_labels)
    loader = DataLoader(samples, BATCH, shuffle=True, seed=options.seed)
    model = make_model(backend)
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=LEARNING_RATE))
    validation_images = born.tensor(data.validation_images, backend)
    validation_labels = born.tensor(data.validation_labels, backend)

    def epoch(number: int) -> Metrics:
        model.train()
        optimizer.lr = LEARNING_RATE * DECAY ** (number - 1)
        total = 0.0
        for images, labels in prefetch(loader, backend):
            with backend.tape:
                loss = nn.cross_entropy(model(images), labels)
            optimizer.step(backward(loss))
            total += loss.item() * len(labels)
        logits = model.eval()(validation_images)
        return {
            "loss": total / len(data.train_images),
            "validation_loss": nn.cross_entropy(logits, validation_labels).item(),
        }

    history = Training(options, model, optimizer, loader).run(epoch)
    # The test digits are read here, and nowhere before.
    logits = model.eval()(born.tensor(data.test_images, backend))
    draw(options.output, history, data, logits.numpy().argmax(axis=-1))
    accuracy = nn.accuracy(logits, born.tensor(data.test_labels, backend))
    print(f"test accuracy: {accuracy:.2%}")


if __name__ == "__main__":
    main()
