"""Which part of a staged rule is computed for each tensor, and which once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from born.fusion.program import (
    ARRAY,
    GROUP,
    RESULT,
    SCALAR,
    TOTAL,
    VALUE,
    Instruction,
    Ref,
)


class Split:
    """The instructions of a trace, parted into those of tensors and those of the group.

    What joins values of the group with scalars that may differ from tensor to tensor, such as
    `t`, is computed for each tensor; if a slot of rank group takes it, for the group too.
    """

    def __init__(
        self,
        instructions: Sequence[Instruction],
        outputs: Sequence[Ref],
        kinds: Sequence[str],
        ranks: Sequence[str],
        varying: frozenset[int],
    ) -> None:
        self._traced = instructions
        self._ranks = ranks
        self._kinds = kinds
        self._varying = self._find_varying(varying)
        self._own: set[int] = set()  # instructions of tensors
        self._common: set[int] = set()  # of the group
        self._summed: set[int] = set()  # totals
        self._known: dict[Ref, None] = {}  # values that the group hands to tensors
        targets = (0, *range(2, len(kinds)))
        for index, ref in zip(targets, outputs, strict=True):
            if kinds[index] == GROUP:
                self._visit_group(ref)
            else:
                self._visit(ref)
        self._known = dict.fromkeys(sorted(self._known, key=lambda ref: (ref.kind, ref.index)))
        self.has_group = GROUP in kinds or bool(self._known) or bool(self._summed)
        self._write_tensors(outputs, targets)
        self._write_group(outputs, targets)

    def _find_varying(self, scalars: frozenset[int]) -> set[int]:
        """The instructions of rank group that differ from tensor to tensor by their scalars."""
        found: set[int] = set()
        for number, (op, args) in enumerate(self._traced):
            varies = any(
                (arg.kind == SCALAR and arg.index in scalars)
                or (arg.kind == RESULT and arg.index in found)
                for arg in args
            )
            if varies and self._ranks[number] == GROUP and op != "total":
                found.add(number)
        return found

    def _is_value(self, ref: Ref) -> bool:
        """Whether tensors get a value from the group."""
        if ref.kind == ARRAY:
            return self._kinds[ref.index] == GROUP
        return (
            ref.kind == RESULT
            and self._ranks[ref.index] == GROUP
            and ref.index not in self._varying
        )

    def _visit(self, ref: Ref) -> None:
        """Mark what a tensor has to compute for a value."""
        if self._is_value(ref):
            if ref not in self._known:
                self._known[ref] = None
                self._visit_group(ref)
        elif ref.kind == RESULT and ref.index not in self._own:
            self._own.add(ref.index)
            for arg in self._traced[ref.index].args:
                self._visit(arg)

    def _visit_group(self, ref: Ref) -> None:
        """Mark what the group has to compute for a value."""
        if ref.kind != RESULT:
            return
        op, args = self._traced[ref.index]
        if op == "total":
            if ref.index not in self._summed:
                self._summed.add(ref.index)
                for arg in args:
                    self._visit(arg)
        elif ref.index not in self._common:
            self._common.add(ref.index)
            for arg in args:
                self._visit_group(arg)

    def _write_tensors(self, outputs: Sequence[Ref], targets: Sequence[int]) -> None:
        """The instructions that are marked for tensors, renumbered; a total becomes a sum."""
        arrays = [index for index, kind in enumerate(self._kinds) if kind != GROUP]
        moved: dict[Ref, Ref] = {Ref(ARRAY, old): Ref(ARRAY, new) for new, old in enumerate(arrays)}
        order = sorted(self._own | self._summed)
        moved |= {ref: Ref(VALUE, i) for i, ref in enumerate(self._known)}
        scalars: dict[int, Ref] = {}

        def renamed(ref: Ref) -> Ref:
            if ref.kind == SCALAR:
                return scalars.setdefault(ref.index, Ref(SCALAR, len(scalars)))
            return moved[ref]

        written: dict[Instruction, Ref] = {}
        totals: list[Ref] = []
        self._total_of: dict[int, int] = {}
        for number in order:
            op, args = self._traced[number]
            is_total = number in self._summed
            new = Instruction("sum" if is_total else op, tuple(renamed(arg) for arg in args))
            ref = written.setdefault(new, Ref(RESULT, len(written)))
            if is_total:
                self._total_of[number] = len(totals)
                totals.append(ref)
            else:
                moved[Ref(RESULT, number)] = ref
        self.instructions = tuple(written)
        self.outputs = tuple(
            renamed(ref)
            for index, ref in zip(targets, outputs, strict=True)
            if self._kinds[index] != GROUP
        )
        self.totals = tuple(totals)
        self.scalars = tuple(scalars)

    def _write_group(self, outputs: Sequence[Ref], targets: Sequence[int]) -> None:
        """The instructions that are marked for the group, renumbered."""
        slots = [index for index, kind in enumerate(self._kinds) if kind == GROUP]
        moved: dict[Ref, Ref] = {Ref(ARRAY, old): Ref(ARRAY, new) for new, old in enumerate(slots)}
        moved |= {Ref(RESULT, old): Ref(TOTAL, new) for old, new in self._total_of.items()}
        moved |= {
            Ref(RESULT, old): Ref(RESULT, new) for new, old in enumerate(sorted(self._common))
        }
        scalars: dict[int, Ref] = {}

        def renamed(ref: Ref) -> Ref:
            if ref.kind == SCALAR:
                return scalars.setdefault(ref.index, Ref(SCALAR, len(scalars)))
            return moved[ref]

        self.group_instructions = tuple(
            Instruction(op, tuple(renamed(arg) for arg in args))
            for op, args in (self._traced[number] for number in sorted(self._common))
        )
        self.group_outputs = tuple(
            renamed(ref)
            for index, ref in zip(targets, outputs, strict=True)
            if self._kinds[index] == GROUP
        )
        self.values = tuple(renamed(ref) for ref in self._known)
        self.group_scalars = tuple(scalars)
        self.total_rounds = tuple(self._round_of_total(number) for number in sorted(self._summed))
        self.value_rounds = tuple(self._round_of(ref) for ref in self._known)

    def _round_of_total(self, number: int) -> int:
        return max(self._round_of(arg) for arg in self._traced[number].args)

    def _round_of(self, ref: Ref) -> int:
        """How many rounds of totals must be over before a value can be computed."""
        if ref.kind != RESULT:
            return 0
        op, args = self._traced[ref.index]
        if op == "total":
            return 1 + self._round_of_total(ref.index)
        return max((self._round_of(arg) for arg in args), default=0)
