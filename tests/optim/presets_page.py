"""Writes `docs/presets.md` from the presets themselves: `python -m tests.optim.presets_page`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

from born.optim.naming import OPTIMIZERS

PAGE: Final = Path(__file__).parents[2] / "docs" / "presets.md"

TITLES: Final = {
    "torch": "PyTorch 2.13",
    "optax": "Optax 0.2.8",
    "keras": "Keras 3",
    "mlx": "MLX 0.32",
    "burn": "Burn",
    "born-go": "born for Go",
    "autograd": "itsubaki's autograd",
    "tiny-pytorch": "tiny-pytorch",
    "gomlx": "GoMLX",
    "dtorch": "dtorch",
}
"""System -> what it is called."""

AROUND: Final = {
    "gomlx": """\
What GoMLX says beside an optimizer: `clip_step_by_value` is `wrappers=[lambda rule:
optim.clip_step(rule, value)]`, its back-off at the start `optim.warm_state(rule, steps)`;
what `clip_nan` drops counts as 0 with
`nonfinite="zero"`.""",
    "autograd": """\
Its hooks: `WeightDecay` is the field `weight_decay`, `ClipGrad` is `max_norm=...`.""",
}
"""System -> what surrounds its updates, and is no field of a config."""

HEAD: Final = """\
# Coming from another system

`optim.AdamConfig.like("keras", lr=0.01)` has Keras's defaults and Keras's arithmetic, so that the
same gradients lead to the same numbers. Below are, for each system, its optimizers and the fields
by which they differ from born's defaults; what you pass beside the system's name replaces them.
Every row is checked in float64 over twelve steps that separate what libraries mean by one name:
against PyTorch, Optax, Keras and MLX themselves, and against the formulas in the documentation of
the others (`tests/optim/golden/`). This page is written by `python -m tests.optim.presets_page`.
"""


def first_line(optimizer: Any) -> str:
    """What an optimizer is, without its name."""
    line = (inspect.getdoc(optimizer) or "").partition("\n")[0]
    return line.partition(": ")[2].rstrip(".")


def fields(preset: Any) -> str:
    """The fields of a preset as they are written in a call."""
    return ", ".join(f"`{name}={value!r}`" for name, value in preset.items()) or "born's defaults"


def text() -> str:
    """The page."""
    parts = [
        HEAD,
        "## The optimizers",
        "",
        "| name | what it does | systems |",
        "| --- | --- | --- |",
    ]
    for optimizer in OPTIMIZERS.values():
        systems = ", ".join(optimizer.config_type.presets) or "-"
        parts.append(f"| `{optimizer.__name__}` | {first_line(optimizer)} | {systems} |")
    for system, title in TITLES.items():
        parts += ["", f"## {title}", "", f'`like("{system}")`:', ""]
        parts += ["| optimizer | differs by |", "| --- | --- |"]
        for optimizer in OPTIMIZERS.values():
            presets = optimizer.config_type.presets
            if system in presets:
                parts.append(f"| `{optimizer.__name__}` | {fields(presets[system])} |")
        parts += ["", AROUND[system]] if system in AROUND else []
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
