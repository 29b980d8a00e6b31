"""The derivatives of formulas, worked out from them and recorded on a tape."""

from __future__ import annotations

from collections.abc import Sequence

from born.autodiff.derivatives.registrars import sum_to_shape
from born.autodiff.pullback import Pullback
from born.autodiff.tape import Origin, Tape
from born.backend import Backend
from born.fusion import Derivative, Formula, derivative
from born.raw import RawTensor


def record_fused(
    tape: Tape,
    formula: Formula,
    arrays: Sequence[RawTensor],
    scalars: Sequence[float],
    results: tuple[RawTensor, ...],
    origins: tuple[Origin | None, ...],
) -> None:
    """Record each result of a formula, some of whose arrays have origins."""
    if len(arrays) == len(results) == 1 and not formula.scalars:
        _record_one(tape, formula, arrays[0], results[0], origins)
        return
    required = tuple(map(bool, origins))
    size = results[0].size
    sizes = tuple(x.size == size for x in arrays) if len(arrays) > 1 else (True,)
    # Another tensor over the same memory: a record that led to its own result would keep both
    # alive.
    seen: list[RawTensor] = []
    for number, result in enumerate(results):
        key = (_KEY, number, required, sizes)
        how: Derivative | None = formula.compiled.get(key)
        if how is None:
            shares = [1.0 if whole else _SMALL for whole in sizes]
            how = formula.compiled[key] = derivative(formula, required, shares, number)
        if not how.inputs:
            continue
        if how.kept_outputs and not seen:
            seen = [_alias(each) for each in results]
        kept = [arrays[i] for i in how.kept_inputs]
        versions = [(x, x.changes[0] if x.changes else 0) for x in kept]
        for other in how.kept_outputs:
            kept.append(seen[other])
            versions.append((seen[other], 0))
        shapes = [arrays[i].shape for i in how.inputs]
        pullback = _pullback(tape.inner, how, len(arrays), kept, shapes, scalars)
        tape.record(result, origins, pullback, versions)


def _record_one(
    tape: Tape,
    formula: Formula,
    x: RawTensor,
    result: RawTensor,
    origins: tuple[Origin | None, ...],
) -> None:
    """The same for one array and no scalars, as activations have it: this runs in every layer."""
    how: Derivative | None = formula.compiled.get(_ONE)
    if how is None:
        how = formula.compiled[_ONE] = derivative(formula, [True], [1.0])
    if not how.inputs:
        return
    inner, backward = tape.inner, how.formula
    if how.kept_outputs and not how.kept_inputs:
        seen = _alias(result)
        tape.record(result, origins, lambda g: inner.fused(backward, (g, seen))[0], [(seen, 0)])
        return
    kept, versions = list[RawTensor](), list[tuple[RawTensor, int]]()
    if how.kept_inputs:
        kept.append(x)
        versions.append((x, x.changes[0] if x.changes else 0))
    if how.kept_outputs:
        kept.append(_alias(result))
        versions.append((kept[-1], 0))
    tape.record(result, origins, lambda g: inner.fused(backward, (g, *kept))[0], versions)


_ONE = "derivative by the only array"
_KEY = "derivative"
_SMALL = 1 / 64  # the share of an input that broadcasts, about


def _alias(result: RawTensor) -> RawTensor:
    seen = result.alias()
    seen.node = result.node
    return seen


def _pullback(
    inner: Backend,
    how: Derivative,
    count: int,
    kept: Sequence[RawTensor],
    shapes: Sequence[tuple[int, ...]],
    scalars: Sequence[float],
) -> Pullback:
    """The pullback of a formula of `count` arrays."""
    formula = how.formula

    def numbers() -> Sequence[float]:
        return formula.host(*scalars) if formula.scalars else ()

    if count == 1:
        shape = shapes[0]
        return lambda g: sum_to_shape(inner, inner.fused(formula, (g, *kept), numbers())[0], shape)

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        whole = inner.fused(formula, (g, *kept), numbers())
        gradients: list[RawTensor | None] = [None] * count
        for i, result, shape in zip(how.inputs, how.results, shapes, strict=True):
            gradients[i] = sum_to_shape(inner, whole[result], shape)
        return gradients

    return pullback
