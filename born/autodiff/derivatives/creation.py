"""The derivatives of copies; what is made from nothing has none."""

from __future__ import annotations

from born.autodiff.derivatives.registrars import Required, constant, of_input, pullback_of
from born.autodiff.pullback import Pullback
from born.backend import Backend
from born.dtypes import DTypeLike, is_floating
from born.raw import RawTensor

constant("from_numpy", "to_numpy", "zeros", "ones", "full", "arange", "eye", "normal", "uniform")
constant("assign")

of_input("copy", lambda b, g, x_shape: g)


@pullback_of("astype")
def _astype(
    b: Backend, out: RawTensor, required: Required, x: RawTensor, dtype: DTypeLike
) -> Pullback | None:
    before = x.dtype
    if not (is_floating(before) and is_floating(out.dtype)):
        return None
    return lambda g: b.astype(g, before)
