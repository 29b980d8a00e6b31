"""`CodedUpdate`: coded slots around a kernel that knows nothing of them.

Tensors are taken a batch at a time: their slots are decoded into memory that all batches share,
the kernel updates them there, and they are encoded again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from typing_extensions import override

from born.backend import codecs
from born.backend.contract.primitives import Primitives
from born.backend.update import (
    BoundUpdate,
    Check,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
)
from born.dtypes import float32
from born.fusion import Program
from born.raw import RawTensor

_BATCH: Final = 1_048_576
"""Elements that are decoded at a time, unless one tensor has more."""


def is_coded(program: Program, dtypes: Sequence[np.dtype[Any]]) -> bool:
    """Whether a kernel for these dtypes gets coded slots as bytes, and not decoded."""
    return any(program.codec(i) and x.itemsize == 1 for i, x in enumerate(dtypes))


Compile: TypeAlias = Callable[[Program, tuple[np.dtype[Any], ...]], UpdateKernel]


class CodedUpdate(UpdateKernel):
    """A program with coded slots, by the kernel of the same program without.

    Args:
        backend: what decodes and encodes.
        program: with codecs.
        dtypes: of its arrays.
        compile: what makes the kernel.
        is_shared: whether a part of an array, as `array[a:b].reshape(shape)`, is its memory.
    """

    def __init__(
        self,
        backend: Primitives,
        program: Program,
        dtypes: tuple[np.dtype[Any], ...],
        compile: Compile,
        is_shared: bool = True,
    ) -> None:
        decoded = tuple(float32 if program.codec(i) else x for i, x in enumerate(dtypes))
        # It still knows what is coded, as that is no place for values between two rounds.
        self.inner = compile(program, decoded)
        super().__init__(program, dtypes, self.inner.source)
        self.backend = backend
        self.is_shared = is_shared
        # Among the targets, which lack the gradient.
        self.coded = [(i - 1, codec) for i, codec in enumerate(program.codecs) if codec]
        self.rounds = program.group.rounds if program.group else 0
        # Slots whose new values no total is waited for may be written in an earlier round.
        stage, boundaries = program.numbered()
        new = [program.outputs[place] for place, _ in self.coded]
        self.is_early = any(stage[ref] < boundaries[-1] for ref in new)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)


class _Batch(NamedTuple):
    """Some tensors, with room to decode their slots.

    Attributes:
        numbers: which of the bound tensors.
        coded: of each of them, its coded slots with their codecs and the room for them.
        bound: the kernel over parameters, rooms and what is not coded.
    """

    numbers: range
    coded: list[list[tuple[RawTensor, str, RawTensor]]]
    bound: BoundUpdate


class _Bound(BoundUpdate):
    """Targets in batches whose coded slots fit into the room there is for their values."""

    def __init__(
        self, kernel: CodedUpdate, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        self._kernel = kernel
        sizes = [math.prod(target[0].shape) for target in targets]
        most = max(_BATCH, *sizes) if kernel.is_shared else sum(sizes)
        self._room = [kernel.backend.zeros((0,), float32)] * len(kernel.coded)
        needed = start = held = 0
        ranges: list[range] = []
        for number, size in enumerate(sizes):
            if held and held + size > most:
                ranges.append(range(start, number))
                start, held = number, 0
            held += size
            needed = max(needed, held)
        ranges.append(range(start, len(targets)))
        if kernel.is_shared:
            self._room = [kernel.backend.zeros((needed,), float32) for _ in kernel.coded]
        self._batches = [self._batch(each, targets, sizes, check) for each in ranges]

    def _batch(
        self,
        numbers: range,
        targets: Sequence[Sequence[RawTensor]],
        sizes: Sequence[int],
        check: Check,
    ) -> _Batch:
        """The kernel bound to parameters and the room for their slots."""
        kernel = self._kernel
        coded: list[list[tuple[RawTensor, str, RawTensor]]] = []
        decoded: list[list[RawTensor]] = []
        start = 0
        for number in numbers:
            own, pairs = list(targets[number]), list[tuple[RawTensor, str, RawTensor]]()
            for (place, codec), room in zip(kernel.coded, self._room, strict=True):
                view = self._view(room, start, sizes[number], own[0])
                pairs.append((own[place], codec, view))
                own[place] = view
            decoded.append(own)
            coded.append(pairs)
            start += sizes[number]

        def check_number(number: int, gradient: RawTensor) -> None:
            check(numbers[number], gradient)

        return _Batch(numbers, coded, kernel.inner.bind(decoded, check_number))

    def _view(self, room: RawTensor, start: int, size: int, like: RawTensor) -> RawTensor:
        if not self._kernel.is_shared:
            return self._kernel.backend.zeros(like.shape, float32)
        array: Any = room.array
        return RawTensor(array[start : start + size].reshape(like.shape))

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        steps: list[_BatchStep] = []
        for batch in self._batches:
            places = [place for place, number in enumerate(numbers) if number in batch.numbers]
            if places:
                own = [numbers[place] - batch.numbers.start for place in places]
                given = [gradients[place] for place in places]
                coded = [batch.coded[number] for number in own]
                steps.append(_BatchStep(coded, places, batch.bound.prepare(own, given)))
        return _Step(self._kernel, steps)


class _BatchStep(NamedTuple):
    """A step of some of a batch's tensors, and their places among the gradients."""

    coded: list[list[tuple[RawTensor, str, RawTensor]]]
    places: list[int]
    prepared: PreparedStep


class _Step(PreparedStep):
    """A step of each batch, between decoding its slots and encoding them again."""

    def __init__(self, kernel: CodedUpdate, steps: Sequence[_BatchStep]) -> None:
        self._kernel = kernel
        self._steps = steps

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> RawTensor | None:
        kernel, backend = self._kernel, self._kernel.backend
        writes = kernel.is_early or finished == kernel.rounds
        totals: RawTensor | None = None
        for coded, places, step in self._steps:
            for pairs in coded:  # in each round: others were there in between
                for codes, codec, room in pairs:
                    backend.decode_slot(codes, codec, room)
            chosen = None if sets is None else [sets[place] for place in places]
            own = step.run(scalars, chosen, values, finished)
            if own is not None:
                totals = own if totals is None else backend.add(totals, own)
            if writes:
                for place, pairs in zip(places, coded, strict=True):
                    numbers = scalars[0 if sets is None else sets[place]]
                    chance = [numbers[ref.index] for ref in kernel.program.chance]
                    for which, (codes, codec, room) in enumerate(pairs):
                        key = codecs.slot_key(chance, which)
                        backend.encode_slot(room, codec, codes, key)
        return totals
