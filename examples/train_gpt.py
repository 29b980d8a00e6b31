"""Train a small GPT on Python's own documentation, character by character, and have it write.

The text is the docstrings of the standard library. The loss printed is the mean over an epoch; a
sample of what the averaged weights write comes last. Ctrl-C or a power failure costs at most an
epoch: with --checkpoint-dir, --resume goes on, to the bit.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from common import Metrics, Training, parse, save

import born
import born.plot
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.data import DataLoader, prefetch
from born.optim import schedules

EPOCHS: Final = 6
BATCH: Final = 16
CONTEXT: Final = 64  # characters
WIDTH: Final = 96
HEADS: Final = 4
LAYERS: Final = 2
PEAK: Final = 4e-3  # of the learning rate
PROMPT: Final = "Return the "
SAMPLE: Final = 400  # characters
TEMPERATURE: Final = 0.7  # below 1 the sample keeps to what is likely

LETTERS: Final = "\n" + "".join(map(chr, range(32, 127)))
MODULES: Final = (
    "argparse bisect calendar cmd configparser copy csv datetime difflib doctest fractions ftplib "
    "functools gettext heapq imaplib inspect locale mailbox nntplib optparse pdb pickle platform "
    "poplib random sched shelve shutil smtplib statistics string subprocess tarfile tempfile "
    "textwrap threading timeit typing uuid zipfile"
)
HELD_OUT: Final = 20  # one of so many stretches of text is for validation

Recording = Autodiff[Backend]


def docstrings(modules: str) -> Iterator[str]:
    """Those of modules of the standard library that are written in Python."""
    folder = Path(sysconfig.get_path("stdlib"))
    for name in modules.split():
        path = folder / f"{name}.py"
        text = path.read_text(encoding="utf-8") if path.exists() else ""  # it varies by version
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found = ast.get_docstring(node)
                if found:
                    yield found


def windows(text: str) -> tuple[Any, Any]:
    """Stretches of a text, one after the other, and what each is a letter later."""
    numbers = np.array([LETTERS.index(letter) for letter in text if letter in LETTERS])
    every = np.lib.stride_tricks.sliding_window_view(numbers, CONTEXT + 1)[::CONTEXT]
    return every[:, :-1], every[:, 1:]


class GPT(nn.Module[Recording]):
    """Scores for the next letter after each of up to CONTEXT letters."""

    def __init__(self, backend: Recording) -> None:
        self.letters = nn.Embedding(len(LETTERS), WIDTH, backend)
        self.blocks = [
            nn.TransformerBlock(WIDTH, HEADS, backend, rotary=True) for _ in range(LAYERS)
        ]
        self.norm = nn.LayerNorm(WIDTH, backend)
        self.head = nn.Linear(WIDTH, len(LETTERS), backend)

    def forward(self, letters: born.Tensor[Recording]) -> born.Tensor[Recording]:
        """From numbers of letters to scores, for each place."""
        x = self.letters(letters)
        for block in self.blocks:
            x = block(x, causal=True)
        return self.head(self.norm(x))

    def write(self, prompt: str, count: int, seed: int) -> str:
        """A prompt and what comes after it, a letter at a time."""
        text, rng = prompt, np.random.default_rng(seed)
        for _ in range(count):
            read = [LETTERS.index(letter) for letter in text[-CONTEXT:]]
            scores = self(born.tensor([read], self.head.weight.backend)).numpy()[0, -1]
            # The largest of scores with Gumbel noise is a draw from their softmax.
            text += LETTERS[int(np.argmax(scores / TEMPERATURE + rng.gumbel(size=len(scores))))]
        return text


def main() -> None:
    """Train, draw how it went, and print a sample."""
    options = parse(__doc__ or "", "train_gpt", EPOCHS)
    backend = Autodiff(options.backend)
    inputs, targets = windows("\n\n".join(docstrings(MODULES)))
    apart = np.arange(len(inputs)) % HELD_OUT == 0
    loader = DataLoader((inputs[~apart], targets[~apart]), BATCH, shuffle=True, seed=options.seed)
    held_out = [born.tensor(x[apart], backend) for x in (inputs, targets)]
    model = GPT(backend)
    steps = EPOCHS * len(loader)
    optimizer = optim.AdamW(
        model,
        lr=schedules.Cosine(PEAK, steps=steps, warmup=steps // 10),
        weight_decay=0.1,
        groups=[optim.Group(lambda name, p: p.ndim < 2 or "letters" in name, weight_decay=0.0)],
        max_norm=1.0,
        average=0.98,
        nonfinite="skip",
        watch=("grad_norm", "update_ratio"),
    )

    def epoch(number: int) -> Metrics:
        losses: list[born.Tensor[Recording]] = []
        reports: list[optim.StepReport] = []
        for letters, following in prefetch(loader, backend):
            with backend.tape:
                loss = nn.cross_entropy(model(letters), following)
            reports.append(optimizer.step(backward(loss)))
            losses.append(loss.detach())
        with optimizer.weights("average"):
            validation_loss = nn.cross_entropy(model(held_out[0]), held_out[1]).item()
        names = ("lr", "grad_norm", "update_ratio", "nonfinite")
        last = reports[-1].to_dict(per_parameter=False)
        return {
            "loss": sum(each.item() for each in losses) / len(losses),
            "validation_loss": validation_loss,
            **{name: last[name] for name in names},
        }

    history = Training(options, model, optimizer, loader).run(epoch)
    save(born.plot.history(history), options.output)
    with optimizer.weights("average"):
        print(f"\n{model.write(PROMPT, SAMPLE, options.seed)}")


if __name__ == "__main__":
    main()
