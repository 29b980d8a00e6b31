"""Writes `docs/coverage.md`, prints what is missing: `python -m tests.operations.coverage_page`.

It compares the names of born's functions with those of NumPy, SciPy and HIPS autograd.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import born
from born import ops, stats

PAGE: Final = Path(__file__).parents[2] / "docs" / "coverage.md"

LIBRARIES: Final = ("numpy", "scipy", "autograd")

HEAD: Final = """\
# Coverage

Which functions of NumPy, of SciPy and of HIPS autograd born has, and why it lacks the others. Names
are compared; what born has under another name only is listed with that name. A function that is
there has derivatives of any order wherever they exist, on every backend; its docstring says where
it has none. `python -m tests.operations.coverage_page` writes this page and prints what is missing,
for {versions}.

There are no complex numbers, and therefore no `fft`: dtypes, the contract and its kernels,
formulas, update rules, checkpoints and the convention of every derivative would each need them, for
one family of functions. `ops.convolve` and `ops.conv2d` filter, and `torch.from_dlpack(x)` and
`born.from_dlpack` go to a library that has them and back.

Special functions need SciPy on a CPU (`pip install "born-optim[scipy]"`). CuPy has all of them but
`jv`, `iv` and `ive`, which are a `MissingPackageError` on a GPU.
"""

OWN_NAMES: Final = {
    "amax": "max",
    "amin": "min",
    "array": "born.tensor",
    "asarray": "born.tensor",
    "asanyarray": "born.tensor",
    "ascontiguousarray": "copy",
    "bitwise_and": "logical_and",
    "bitwise_invert": "logical_not",
    "bitwise_not": "logical_not",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
    "conj": "positive, of real numbers",
    "conjugate": "positive, of real numbers",
    "cumulative_prod": "cumprod",
    "cumulative_sum": "cumsum",
    "delete": "an index of those that stay",
    "ediff1d": "diff",
    "empty": "born.zeros",
    "empty_like": "zeros_like",
    "extract": "x[mask]",
    "compress": "x[mask]",
    "float_power": "pow",
    "i0": "special.i0",
    "ndim": "x.ndim",
    "shape": "x.shape",
    "size": "x.size",
    "cdf": "special.gammainc, special.gammaincc or special.betainc",
    "logcdf": "log of special.betainc",
    "truncate_pad": "pad; internal to autograd",
    "identity": "born.eye",
    "invert": "logical_not",
    "make_diagonal": "diag",
    "matvec": "matmul",
    "put_along_axis": "scatter_add",
    "real": "positive, of real numbers",
    "real_if_close": "positive, of real numbers",
    "row_stack": "vstack",
    "tri": "tril of born.ones",
    "unique_all": "unique",
    "unique_counts": "unique",
    "unique_inverse": "unique",
    "unique_values": "unique",
    "vecmat": "matmul",
    "array_from_args": "stack; internal to autograd",
    "concatenate_args": "concatenate; internal to autograd",
    "betaincc": "1 - betainc",
    "binom": "exp of gammaln",
    "comb": "exp of gammaln",
    "exp10": "exp",
    "exprel": "expm1 over x",
    "factorial": "gamma",
    "huber": "nn.huber_loss",
    "loggamma": "gammaln, of real numbers",
    "perm": "exp of gammaln",
    "poch": "exp of gammaln",
    "powm1": "expm1",
}
"""A name elsewhere -> what does the same here."""

COMPLEX: Final = "no complex numbers, see above"
REASONS: Final[dict[str, str]] = {
    COMPLEX: r"angle|imag|is(complex|real)(obj)?|sort_complex|eig|eigvals|i?r?fft[2n]?|i?hfft"
    r"|i?fft(shift)?|r?fftfreq|hankel[12]e?|wofz|h[12]vp",
    "works on bits, or on integers alone": r"bitwise_\w+|left_shift|right_shift|gcd|lcm|packbits|"
    r"unpackbits|frexp|ldexp|nextafter|spacing|stirling2|euler|bernoulli",
    "makes indices: NumPy's result is an index here too": r"\w*indices\w*|argwhere|flatnonzero"
    r"|nonzero|lexsort|unravel_index|ravel_multi_index|mask_indices",
    "writes in place, or into a part": r"copyto|fill_diagonal|place|put|putmask|insert|resize",
    "calls back into Python for each element or slice": r"apply_\w+|piecewise|frompyfunc"
    r"|fromfunction|fromiter|choose|select|nested_iters",
    "sets of elements: use NumPy's on x.numpy()": r"intersect1d|isin|setdiff1d|setxor1d|union1d"
    r"|trim_zeros|array_equiv|histogram\w+",
    "polynomials: write Horner's rule": r"poly\w*|roots|vander",
    "constants: born.tensor of NumPy's": r"bartlett|blackman|hamming|hanning|kaiser",
    "angles and phases along a line: compose it of floor and cumsum": r"unwrap",
    "about arrays, files, dates, printing or settings": r"array2string|array_repr|array_str"
    r"|as(array_chkfinite|fortranarray|matrix)|base_repr|binary_repr|bmat|broadcast_shapes|busday_\w+"
    r"|can_cast|common_type|datetime_\w+|einsum_path|format_\w+|from(buffer|file|regex|string)"
    r"|genfromtxt|get\w+|info|is_busday|isdtype|isfortran|isnat|isscalar|issubdtype|iterable|load|loadtxt"
    r"|may_share_memory|min_scalar_type|mintypecode|printoptions|promote_types|require|result_type"
    r"|save\w*|set_printoptions|seterr\w*|setbufsize|shares_memory|show_\w+|test|typename|copyto",
    "numbers that depend on nothing differentiable": r"\w+_zeros|\w*roots\w*|\w_roots|\w\w_roots"
    r"|\w+_cv(_seq)?|ellip_normal|mathieu_(even|odd)_coef|mathieu_[ab]",
    "polynomials, as objects or by degree": r"(sh_)?(cheby[ctsu]|legendre|jacobi)|eval_\w+"
    r"|(gen|assoc_)?laguerre|hermite(norm)?|gegenbauer|(assoc_|sph_)?legendre_p(_all)?|lpmv|lq[mn]n?"
    r"|sph_harm_y(_all)?|ellip_harm(_2)?|besselpoly|lmbda",
    "distribution functions and their inverses: born.stats has log-densities": r"\w*dtr\w*"
    r"|smirnovi?|kolmog\w+|owens_t|tklmbda|stdtr\w*|chnd\w+|btd\w+",
    "factorials of integers": r"factorial[2k]",
}
"""Why a name is missing -> which names, as a pattern."""

OTHERWISE: Final = {
    "scipy.special": "seldom asked for; `ufunc` takes one more in four lines, see"
    " [howto/operation.md](howto/operation.md)",
}


@dataclass(frozen=True)
class Section:
    """A module to compare with.

    Attributes:
        module: its name.
        homes: where born has such functions, the first that has one.
        counts: whether a name there is a function that counts.
    """

    module: str
    homes: tuple[Any, ...]
    counts: Callable[[ModuleType, str], bool]

    def names(self) -> list[str]:
        """The functions that count."""
        module = importlib.import_module(self.module)
        return sorted(name for name in dir(module) if self.counts(module, name))

    def missing(self) -> dict[str, str]:
        """What born lacks, and the reason, or the name that it has; "" where there is none."""
        found: dict[str, str] = {}
        for name in self.names():
            if not any(callable(getattr(home, name, None)) for home in self.homes):
                found[name] = self.reason(name)
        return found

    def reason(self, name: str) -> str:
        """Why a name is missing."""
        if name in OWN_NAMES:
            return f"`{OWN_NAMES[name]}`"
        for reason, pattern in REASONS.items():
            if re.fullmatch(pattern, name):
                return reason
        return OTHERWISE.get(self.module, "")


def _is_function(module: ModuleType, name: str) -> bool:
    value = getattr(module, name)
    return not name.startswith("_") and callable(value) and not isinstance(value, type | ModuleType)


def _is_differentiated(module: ModuleType, name: str) -> bool:
    """Whether HIPS autograd has a derivative of it."""
    core: Any = importlib.import_module("autograd.core")
    value = getattr(module, name)
    return _is_function(module, name) and any(value is each for each in core.primitive_vjps)


_EVERYWHERE: Final = (ops, ops.linalg, ops.special, born, born.Tensor)

SECTIONS: Final = (
    Section("numpy", (ops, born, ops.linalg), _is_function),
    Section("numpy.linalg", (ops.linalg, ops), _is_function),
    Section("scipy.special", (ops.special,), _is_function),
    Section("autograd.numpy", _EVERYWHERE, _is_differentiated),
    Section("autograd.numpy.linalg", _EVERYWHERE, _is_differentiated),
    Section("autograd.numpy.fft", _EVERYWHERE, _is_differentiated),
    Section("autograd.scipy.special", _EVERYWHERE, _is_differentiated),
    Section("autograd.scipy.linalg", _EVERYWHERE, _is_differentiated),
    Section("autograd.scipy.signal", _EVERYWHERE, _is_differentiated),
    *(
        Section(
            f"autograd.scipy.stats.{name}", (getattr(stats, name), ops.special), _is_differentiated
        )
        for name in (
            *("beta", "chi2", "dirichlet", "gamma", "multivariate_normal", "norm", "poisson", "t"),
        )
    ),
)


def versions() -> str:
    """The libraries that the page is for."""
    metadata = importlib.import_module("importlib.metadata")
    return ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)


def _lines() -> Iterator[str]:
    yield HEAD.format(versions=versions())
    for section in SECTIONS:
        names, missing = section.names(), section.missing()
        what = "functions that it differentiates" if "autograd" in section.module else "functions"
        yield f"\n## {section.module}\n\n{len(names) - len(missing)} of {len(names)} {what}.\n"
        if not missing:
            continue
        yield "\n| missing | why, or what does the same |\n| --- | --- |\n"
        grouped: dict[str, list[str]] = {}
        for name, reason in missing.items():
            grouped.setdefault(reason, []).append(f"`{name}`")
        for reason, listed in grouped.items():
            yield f"| {', '.join(listed)} | {reason or 'NO REASON'} |\n"


def text() -> str:
    """The page."""
    return "".join(_lines())


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    for section in SECTIONS:
        for name, reason in section.missing().items():
            print(f"{section.module}.{name}: {reason or 'NO REASON'}")
