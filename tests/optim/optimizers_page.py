"""Writes the table of `docs/optimizers.md`: `python -m tests.optim.optimizers_page`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

import born
from born import nn, optim
from born.fusion import ARRAY, Program, Ref
from born.fusion.program import ELEMENT
from born.fusion.stages import Stages
from born.optim.config import Settings, UpdateConfig, field_types
from born.optim.naming import OPTIMIZERS
from born_numpy import NumpyBackend

PAGE: Final = Path(__file__).parents[2] / "docs" / "optimizers.md"

BEGIN: Final = "<!-- written by python -m tests.optim.optimizers_page -->"
END: Final = "<!-- end -->"

USES: Final = {
    "adabelief": "where Adam generalises worse than gradient descent with momentum",
    "adadelta": "where no learning rate is known",
    "adafactor": "large embeddings and language models, where Adam's state does not fit",
    "adagrad": "sparse features, convex problems",
    "adam": "the first to try, with or without tuning",
    "adamax": "where gradients are rarely large, as of embeddings",
    "adamw": "transformers; whatever is regularised by weight decay",
    "adan": "vision and language models, at learning rates above Adam's",
    "ademamix": "long runs of language models",
    "adopt": "where Adam does not converge at any beta2 that you can afford",
    "asgd": "convex problems, for the average at the end",
    "lamb": "batches of thousands, with one learning rate for all layers",
    "lars": "convolutional networks at batches of thousands",
    "lion": "large networks at large batches; half of Adam's state",
    "muon": "the hidden matrices of transformers; others take AdamW",
    "nadam": "recurrent networks; a drop-in for Adam",
    "novograd": "speech and language models, with next to no second moment",
    "prodigy": "fine-tuning without a learning rate to find",
    "radam": "Adam without a warm-up",
    "rmsprop": "recurrent networks, reinforcement learning",
    "rprop": "full batches alone, on small problems",
    "schedulefreeadamw": "runs whose length is not known before",
    "schedulefreesgd": "the same, where SGD is what works",
    "sgd": "convolutional networks, with momentum and a schedule",
    "signum": "gradients that have to be compressed",
    "yogi": "sparse gradients, where v of Adam forgets too fast",
}
"""Optimizer -> when to use it."""

_HIDDEN: Final = set(field_types(UpdateConfig)) - {"weight_decay"}


def defaults(config: Settings) -> str:
    """The numbers of a config that it starts with."""
    shown: list[str] = []
    for name in field_types(type(config)):
        value = getattr(config, name)
        if name in ("lr", *_HIDDEN) or isinstance(value, bool | str) or value is None:
            continue
        if value or name not in ("weight_decay", "momentum", "eps_root"):
            shown.append(f"{name} {value}")
    return ", ".join(shown) or "-"


def moved(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> int:
    """Bytes that the passes of a rule read and write, an element."""
    if not program.staged:
        return _moved(program, dtypes, ())
    single = np.dtype(np.float32)
    passes = [stage.work for stage in Stages(program, dtypes, single).stages]
    return sum(
        _moved(work.program, work.dtypes, [ref for _, refs in work.reductions for ref in refs])
        for work in passes
        if work is not None
    )


def _moved(program: Program, dtypes: tuple[np.dtype[Any], ...], reduced: Iterable[Ref]) -> int:
    read = {ref for _, args in program.instructions for ref in args} | set(reduced)
    pairs = zip(program.targets, program.outputs, strict=True)
    stored = [(index, ref) for index, ref in pairs if ref != Ref(ARRAY, index)]
    read |= {ref for _, ref in stored}
    elements = [i for i in range(len(dtypes)) if program.rank(i) == ELEMENT]
    return sum(
        dtypes[i].itemsize * ((Ref(ARRAY, i) in read) + (i in [index for index, _ in stored]))
        for i in elements
    )


def row(name: str) -> str:
    """The line of an optimizer."""
    optimizer = OPTIMIZERS[name]
    p = nn.Parameter(born.zeros((4, 4), NumpyBackend()), "p")
    made: Any = optim.create(name, [p], lr=0.1)
    rule = optimizer.rule_for(made.config, p)
    program = rule.program_for(2)
    slots = rule.slots
    few = [slot for slot in rule.slots if rule.kind(slot).rank != ELEMENT]
    kinds = [rule.slot_dtype(slot, p.dtype) for slot in rule.own_slots]
    dtypes = (p.dtype, p.dtype, *kinds)
    state = 4 * (len(slots) - len(few))
    ranks = sorted({rule.kind(slot).rank for slot in few})
    per = {"rows": "row", "columns": "column", "tensor": "parameter"}
    extra = "".join(f", and a number for each {per[rank]}" for rank in ranks if rank != "group")
    cost = moved(program, dtypes) / 28
    products = " and matrix products" if any("orth" in op for op, _ in program.instructions) else ""
    source = re.search(r"(?s)Source: (.*?)(?:\n\n|\Z)", inspect.getdoc(optimizer) or "")
    assert source is not None, name
    text = " ".join(source.group(1).split()).rstrip(".")
    return (
        f"| `{optimizer.__name__}` | {USES[name]} | {defaults(made.config)} | "
        f"{', '.join(slots) or '-'} | {state}{extra} | {cost:.2f}{products} | {text} |"
    )


def table() -> str:
    """The section."""
    return "\n".join(
        [
            BEGIN,
            "",
            "| optimizer | use it for | defaults | slots | bytes of state | moves | source |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *map(row, OPTIMIZERS),
            "",
            END,
        ]
    )


def text(page: str) -> str:
    """The page with its table renewed."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + table() + after


if __name__ == "__main__":
    PAGE.write_text(text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
