"""`Saving`: the state of an optimizer, given out and taken back, and the weights that it holds."""

from __future__ import annotations

from typing import cast

from born.backend import B
from born.errors import StateDictError
from born.optim import state as states
from born.optim.accumulation import ACCUMULATE, BATCHES
from born.optim.holding import C_co, Holding
from born.optim.report import SKIPPED
from born.optim.slot import PARAMETER
from born.optim.slots import Coded, by_name, coded_slots
from born.optim.weights import Weights
from born.raw import RawTensor
from born.validation import mismatch_text, type_error


class Saving(Holding[B, C_co]):
    """The state of an optimizer, and other weights in it."""

    def weights(self, name: str) -> Weights[B]:
        """Other values of the parameters that the state holds, such as an average of them.

        Used in a `with` statement, they take the parameters' place inside it. `.state_dict()` gives
        them by the parameters' names.

        Args:
            name: a slot of every parameter's shape, such as `"average"` of `ASGD`; or what an
                optimizer makes of its state, `"x"` of the schedule-free ones.

        Raises:
            StateDictError: no such weights.

        >>> p = nn.Parameter(born.ones(2, backend), "p")
        >>> optimizer = optim.ASGD([p], lr=0.25, begin=0, shrink=0.0)
        >>> for _ in range(2):
        ...     report = optimizer.step({p.raw: born.ones(2, p.backend).raw})
        >>> with optimizer.weights("average"):
        ...     print(p.numpy().round(2))
        [0.5 0.5]
        >>> optimizer.weights("average").state_dict()["p"].numpy().round(2)
        array([0.5, 0.5], dtype=float32)
        """
        if not isinstance(cast("object", name), str):
            raise type_error(
                "name",
                "the name of weights",
                name,
                'write optimizer.weights("average")',
                StateDictError,
            )
        return Weights(self, name)

    def weights_of(self, name: str, index: int) -> RawTensor:
        """The value that `weights` gives one parameter: its own if only others have such weights.

        What parameters are projected to, weights are too.
        """
        found = self._weight(name, index)
        if found is None:
            everywhere = range(len(self._raws))
            if all(self._weight(name, other) is None for other in everywhere):
                raise StateDictError(self._no_weights(name))
            return self._raws[index]
        own = self._counts[index] and found is not self._raws[index]
        return self._projecting.nearest(index, found) if own else found

    def _weight(self, name: str, index: int) -> RawTensor | None:
        """What a parameter has under a name, if its rule has something."""
        raw, rule, count = self._raws[index], self._rules[index], self._counts[index]
        if name == "average" and self._around.average is not None:
            # The outermost: what is inside may keep one of its own, and has that name then.
            name = max((x for x in rule.own_slots if x.rstrip("_") == name), key=len, default=name)
        config = self._treatments[index].config
        own = dict(zip(rule.own_slots, self._buffers[index], strict=False))
        kind = self._kind_of(config)
        made = kind.weights_from(name, config, max(count, 1), raw, own.__getitem__, self._inner)
        if made is not None:
            return made if count else raw
        slot = own.get(name)
        if not count and name in rule.own_slots and rule.kind(name).start == PARAMETER:
            return raw  # which may have been loaded since the slot was made
        return slot if slot is not None and slot.shape == raw.shape else None

    def _no_weights(self, name: str) -> str:
        """The text of an error about weights that there are not."""
        made = [x for each in self._treatments for x in self._kind_of(each.config).made_weights]
        kept = [
            slot
            for rule, own, raw in zip(self._rules, self._buffers, self._raws, strict=True)
            for slot, buffer in zip(rule.own_slots, own, strict=False)
            if buffer.shape == raw.shape and slot not in rule.slot_codecs
        ]
        known = ", ".join(dict.fromkeys([*made, *kept])) or "(none)"
        return (
            f"expected a slot of the parameters' shape, one of {known}, got {name!r}; correct the "
            "name"
        )

    def state_dict(self, *, decoded: bool = False) -> dict[str, RawTensor]:
        """A snapshot of the state; nothing in it aliases what the optimizer goes on to use.

        Args:
            decoded: give slots that are kept in one byte an element as float32, under the names
                that they have where they are.

        Returns:
            `{slot}.{index}` -> what the rule carries for that parameter, of its shape
            and dtype, such as `velocity.0`; and `t.{index}` -> the number of updates
            it has had, int64 of shape (). With `accumulate` there are `gradient_sum.{index}` and
            `gathered.{index}`, the gradients of the batches so far, `batches.0` and `accumulate.0`,
            too; with a policy for what is not finite, `skipped.0` and each parameter's first fault,
            `fault_step.{index}` and `fault_elements.{index}`. What is
            kept in one byte an element has its codec in its name, as `m.int8.0`.

        >>> p = nn.Parameter(born.zeros((2, 3), backend))
        >>> {key: x.shape for key, x in optim.Adam([p], optim.AdamConfig()).state_dict().items()}
        {'m.0': (2, 3), 'v.0': (2, 3), 't.0': ()}
        """
        state = states.copied(self._inner, self._live, self._coded if decoded else {})
        return state | states.counts_as_tensors(self._inner, self._numbered)

    def live_state(self) -> dict[str, RawTensor | int]:
        """The state itself, named as in `state_dict`: its buffers, and the counts as integers.

        What is written to a buffer changes the optimizer.

        >>> optimizer = optim.Adam([nn.Parameter(born.zeros(3, backend))], optim.AdamConfig())
        >>> list(optimizer.live_state())
        ['m.0', 'v.0', 't.0']
        """
        self._check_own_values("to save or load a state", "save the model alone")
        return {**self._live, **self._numbered}

    def state_owners(self) -> dict[str, int | None]:
        """Whose each entry of `state_dict` is: the index of a parameter, or None for all."""
        shared = {BATCHES, ACCUMULATE, SKIPPED, *(f"{slot}.0" for slot in self._shared)}
        return {
            key: None if key in shared else int(key.rpartition(".")[2]) for key in self.live_state()
        }

    def check_state_dict(self, state: states.OptimizerState) -> list[str]:
        """Every reason why `state` could not be loaded, in words; changes nothing."""
        counts, live = self._numbered, self._live
        fitting = states.adapted(state, counts, live)
        lines = states.mismatches(self._inner, live, counts, fitting)
        return [*lines, *states.amid(counts, state)]

    def load_state_dict(self, state: states.OptimizerState, *, encode: bool = False) -> None:
        """Write a state into the optimizer's buffers, all of it or nothing.

        Args:
            state: what `state_dict` gives. Tensors and NumPy arrays will do as well,
                and Python integers for `t.{index}`.
            encode: take numbers for slots that are kept in one byte an element, and round them.

        Raises:
            StateDictError: entries are missing, unexpected, misshapen or mistyped, or a
                count is negative; the message lists every one, and nothing was changed.
        """
        if encode:
            state = states.encoded(self._inner, self._coded, state)
        lines = self.check_state_dict(state)
        if lines:
            remedy = states.remedy(self._coded, state)
            expected = f"a state dict of this {type(self).__name__}"
            raise StateDictError(mismatch_text(expected, lines, remedy))
        numbered, live = self._numbered, self._live
        counts = states.write(self._inner, live, numbered, states.adapted(state, numbered, live))
        self._updates = [counts[f"t.{index}"] for index in range(len(self._raws))]
        if self._accumulation is not None:
            self._accumulation.take_counts(counts)
        self._reporter.take_counts(counts)

    @property
    def _live(self) -> dict[str, RawTensor]:
        """The buffers by name."""
        live = by_name(self._rules, self._buffers)
        live |= {f"{name}.0": slot for name, slot in self._shared.items()}
        return live if self._accumulation is None else live | self._accumulation.live()

    @property
    def _numbered(self) -> dict[str, int]:
        """The counts by name."""
        counts = {f"t.{index}": count for index, count in enumerate(self._counts)}
        counts |= self._reporter.counts()
        return counts if self._accumulation is None else counts | self._accumulation.counts()

    @property
    def _coded(self) -> dict[str, Coded]:
        return coded_slots(self._rules, self._raws)
