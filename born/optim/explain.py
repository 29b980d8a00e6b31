"""`Explanation`: what an optimizer does to each parameter, and what a step costs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import override

from born.backend.update import element_dtype
from born.fusion import ARRAY, Program, Ref
from born.fusion.program import ELEMENT
from born.fusion.stages import Stages
from born.nn import Parameter
from born.optim.config import Config
from born.optim.groups import Group
from born.optim.plan import Bundle, Plan
from born.optim.treatment import Treatment
from born.raw import RawTensor, Shape


@dataclass(frozen=True, slots=True)
class ExplainedSlot:
    """A piece of state of a parameter: its name, dtype and size."""

    name: str
    dtype: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class ExplainedParameter:
    """What is done to a parameter.

    Attributes:
        name: its name, or its number where it has none.
        shape: of the parameter.
        dtype: of the parameter.
        group: what its group selects by, or `""`.
        config: the settings that it follows.
        frozen: whether it is left as it is.
        slots: its own state.
        kernel: the number of the kernel that updates it.
    """

    name: str
    shape: Shape
    dtype: str
    group: str
    config: Config
    frozen: bool
    slots: tuple[ExplainedSlot, ...]
    kernel: int


@dataclass(frozen=True, slots=True)
class ExplainedKernel:
    """What runs the updates of some parameters together.

    Attributes:
        name: of the rule.
        parameters: how many there are; those that are frozen, too.
        rows: how many sets of scalars they take.
        passes: how often a step passes over their elements.
        nbytes: how much memory a step reads and writes for them, all with a gradient.
    """

    name: str
    parameters: int
    rows: int
    passes: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an optimizer does to each parameter, and what a step costs: `optimizer.explain()`.

    Printed it is a table; `rich.print` makes a prettier one of it.

    Attributes:
        optimizer: the name of its class.
        parameters: in its order.
        kernels: what updates them.
        state_bytes: how much memory the state takes.
        step_bytes: how much memory a step reads and writes: values, gradients and state, in each
            pass. What is still in a cache counts as well.

    >>> model = nn.Linear(64, 10, backend)
    >>> optimizer = optim.AdamW(model, lr=1e-3, groups=[optim.Group("bias", weight_decay=0.0)])
    >>> print(optimizer.explain())
    AdamW: 2 parameters, 5,200 bytes of state; a step moves 18,200 bytes
    parameter  shape   dtype    group   state                     bytes  kernel  config
    weight     10 64   float32          m float32, v float32      5,120       0  AdamWConfig(...
    bias       10      float32  'bias'  m float32, v float32         80       0  AdamWConfig(...
    kernel 0: adam for 2 parameters with 2 sets of scalars, in 1 pass over 18,200 bytes
    """

    optimizer: str
    parameters: tuple[ExplainedParameter, ...]
    kernels: tuple[ExplainedKernel, ...]
    state_bytes: int
    step_bytes: int

    @override
    def __str__(self) -> str:
        rows = [_COLUMNS, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                f"{cell:>{width}}" if name in _RIGHT else f"{cell:{width}}"
                for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
            ).rstrip()
            for row in rows
        ]
        return "\n".join([self._title(), *lines, *self._notes()])

    def __rich__(self) -> Any:
        table: Any = importlib.import_module("rich.table").Table(
            title=self._title(), caption="\n".join(self._notes()), caption_justify="left"
        )
        text: Any = importlib.import_module("rich.text").Text
        for name in _COLUMNS:
            table.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
        for row, parameter in zip(self._rows(), self.parameters, strict=True):
            table.add_row(*map(text, row), style="dim" if parameter.frozen else "")
        return table

    def _title(self) -> str:
        return (
            f"{self.optimizer}: {_counted(len(self.parameters), 'parameter')}, "
            f"{self.state_bytes:,} bytes of state; a step moves {self.step_bytes:,} bytes"
        )

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                each.name,
                " ".join(map(str, each.shape)) or "()",
                each.dtype,
                each.group,
                ", ".join(f"{slot.name} {slot.dtype}" for slot in each.slots) or "none",
                f"{sum(slot.nbytes for slot in each.slots):,}",
                "frozen" if each.frozen else str(each.kernel),
                repr(each.config),
            )
            for each in self.parameters
        ]

    def _notes(self) -> list[str]:
        return [
            f"kernel {number}: {each.name} for {_counted(each.parameters, 'parameter')} with "
            f"{_counted(each.rows, 'set')} of scalars, in {_counted(each.passes, 'pass')} over "
            f"{each.nbytes:,} bytes"
            for number, each in enumerate(self.kernels)
        ]


_COLUMNS = ("parameter", "shape", "dtype", "group", "state", "bytes", "kernel", "config")
_RIGHT = ("bytes", "kernel")


def explanation(
    optimizer: str,
    parameters: Sequence[Parameter[Any]],
    treatments: Sequence[Treatment],
    groups: Sequence[Group],
    buffers: Sequence[Sequence[RawTensor]],
    others: Sequence[RawTensor],
    plan: Plan,
) -> Explanation:
    """The explanation of an optimizer; `others` is the state that is of no parameter alone."""
    kernel_of = {index: n for n, bundle in enumerate(plan.bundles) for index in bundle.indices}
    rows = [
        ExplainedParameter(
            parameter.name or str(index),
            parameter.shape,
            parameter.dtype.name,
            "" if each.group is None else groups[each.group].selection,
            each.config,
            each.frozen,
            tuple(
                ExplainedSlot(name, each.rule.slot_codecs.get(name, raw.dtype.name), raw.nbytes)
                for name, raw in zip(each.rule.own_slots, own, strict=True)
            ),
            kernel_of[index],
        )
        for index, (parameter, each, own) in enumerate(
            zip(parameters, treatments, buffers, strict=True)
        )
    ]
    frozen = {index for index, each in enumerate(treatments) if each.frozen}
    kernels = [_kernel(bundle, parameters, frozen) for bundle in plan.bundles]
    return Explanation(
        optimizer,
        tuple(rows),
        tuple(kernels),
        sum(slot.nbytes for row in rows for slot in row.slots) + sum(x.nbytes for x in others),
        sum(each.nbytes for each in kernels),
    )


def _kernel(
    bundle: Bundle, parameters: Sequence[Parameter[Any]], frozen: set[int]
) -> ExplainedKernel:
    passes = _passes(bundle.program, bundle.kernel.dtypes)
    elements = sum(parameters[index].size for index in bundle.indices if index not in frozen)
    return ExplainedKernel(
        bundle.program.name,
        len(bundle.indices),
        len(bundle.rows),
        len(passes),
        elements * sum(passes),
    )


def _passes(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> list[int]:
    """The bytes of an element that each pass reads and writes."""
    if not program.staged:
        return [_moved(program, dtypes)]
    stages = Stages(program, dtypes, element_dtype(program, dtypes)).stages
    works = [stage.work for stage in stages if stage.work is not None]
    return [
        _moved(work.program, work.dtypes, [ref for _, refs in work.reductions for ref in refs])
        for work in works
    ]


def _moved(program: Program, dtypes: Sequence[np.dtype[Any]], reduced: Sequence[Ref] = ()) -> int:
    pairs = zip(program.targets, program.outputs, strict=True)
    stored = {index: ref for index, ref in pairs if ref != Ref(ARRAY, index)}
    read = {ref for _, refs in program.instructions for ref in refs} | set(reduced)
    read |= set(stored.values())
    arrays = [*stored, *(ref.index for ref in read if ref.kind == ARRAY)]
    return sum(dtypes[index].itemsize for index in arrays if program.rank(index) == ELEMENT)


def _counted(number: int, noun: str) -> str:
    plural = "passes" if noun == "pass" else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
