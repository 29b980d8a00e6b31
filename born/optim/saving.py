"""`Saving`: the state of an optimizer, given out and taken back, and the weights that it holds."""

from __future__ import annotations

from born.backend import B
from born.errors import StateDictError
from born.optim import state as states
from born.optim.accumulation import BATCHES
from born.optim.holding import C_co, Holding
from born.optim.slots import Coded, by_name, coded_slots
from born.optim.weights import Weights
from born.raw import RawTensor
from born.validation import mismatch_text


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
        return Weights(self, name)

    def weights_of(self, name: str, index: int) -> RawTensor:
        """The value that `weights` gives one parameter: here a slot; override it for others."""
        raw, live = self._raws[index], self._live.get(f"{name}.{index}")
        rule = self._rules[index]
        if not self._counts[index] and name in rule.own_slots and rule.kind(name).start == "p":
            return raw  # which may have been loaded since the slot was made
        if live is None or live.shape != raw.shape:
            kept = [
                slot
                for slot in dict.fromkeys(key.rpartition(".")[0] for key in self._live)
                if (x := self._live.get(f"{slot}.{index}")) is not None and x.shape == raw.shape
            ]
            raise StateDictError(
                f"{self._checks.label(index)}: expected a slot of its shape, one of "
                f"{', '.join(kept) or '(none)'}, got {name!r}; correct the name"
            )
        return live

    def state_dict(self, *, decoded: bool = False) -> dict[str, RawTensor]:
        """A snapshot of the state; nothing in it aliases what the optimizer goes on to use.

        Args:
            decoded: give slots that are kept in one byte an element as float32, under the names
                that they have where they are.

        Returns:
            `{slot}.{index}` -> what the rule carries for that parameter, of its shape
            and dtype, such as `velocity.0`; and `t.{index}` -> the number of updates
            it has had, int64 of shape (). With `accumulate` there are `gradient_sum.{index}` and
            `gathered.{index}`, the gradients of the batches so far, and `batches.0`, too. What is
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
        shared = {BATCHES, *(f"{slot}.0" for slot in self._shared)}
        return {
            key: None if key in shared else int(key.rpartition(".")[2]) for key in self.live_state()
        }

    def check_state_dict(self, state: states.OptimizerState) -> list[str]:
        """Every reason why `state` could not be loaded, in words; changes nothing."""
        return states.mismatches(self._inner, self._live, self._numbered, state)

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
        counts = states.write(self._inner, self._live, self._numbered, state)
        self._updates = [counts[f"t.{index}"] for index in range(len(self._raws))]
        if self._accumulation is not None:
            self._accumulation.take_counts(counts)

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
        return counts if self._accumulation is None else counts | self._accumulation.counts()

    @property
    def _coded(self) -> dict[str, Coded]:
        return coded_slots(self._rules, self._raws)
