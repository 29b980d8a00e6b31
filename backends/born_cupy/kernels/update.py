"""Update kernels: one launch for all parameters of an optimizer, from a traced rule."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend.codecs import FULL, SLOTS
from born.backend.update import element_dtype
from born.fusion import ARRAY, BOOLEAN, SCALAR, Program, Ref
from born.fusion.codec import BLOCK, SCALE
from born.fusion.program import stochastic
from born_cupy.kernels.coded import NAMES, ROUNDING, helpers, rounding
from born_cupy.kernels.source import Source, ctype, head
from born_cupy.kernels.table import FIND, LOCATE, TABLE

CHUNK: Final = 8_192
"""Elements that a block updates before it takes its next chunk.

Few enough that the last blocks to finish leave a large device idle for a small part of
the time, many enough that finding a chunk in the table costs nothing beside it."""

_ACCESS: Final = 16  # bytes that one thread loads or stores at once, the most that it can

_PATTERNS: Final = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "lt": "{0} < {1}",
    "le": "{0} <= {1}",
    "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_not": "!{0}",
    "where": "{0} ? {1} : {2}",
    "isfinite": "{0} - {0} == (real)0",
    "sign": "{0} != {0} ? {0} : (real)({0} > 0) - (real)({0} < 0)",
    "maximum": "{0} > {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} < {1} || {0} != {0} ? {0} : {1}",
    "cast_float16": "(real)float_of_half(half_of({0}))",
    "cast_bfloat16": "(real)float_of_bfloat(bfloat_of({0}))",
    "cast_float32": "(real)(float){0}",
}
"""Operation -> its text."""

_FUNCTIONS: Final = {"abs": "fabs", "exp": "exp", "log": "log", "pow": "pow", "sqrt": "sqrt"}
"""Operation -> the function of C that computes it in double; in float its name ends in f."""


@cache
def update(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> Source:
    """The kernel of a program.

    Its table has a column a tensor and these rows: the addresses of the program's arrays, the
    number of elements, which set of scalars; then the chunks before each tensor and in all, and the
    sets of scalars.
    """
    writer = CodedWriter(program, dtypes) if program.codecs else UpdateWriter(program, dtypes)
    return Source("update", writer.text(), exact=True)


class UpdateWriter:
    """The parts of a kernel's text that depend on the program."""

    def __init__(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> None:
        self.program = program
        self.real = element_dtype(program, dtypes)
        self.stored = {
            index: ref
            for index, ref in zip(program.targets, program.outputs, strict=True)
            if ref != Ref(ARRAY, index)
        }
        read = program.last_use()
        self.arrays = {
            index: ctype(dtype)
            for index, dtype in enumerate(dtypes)
            if index in self.stored or Ref(ARRAY, index) in read
        }
        self.read = {index for index in self.arrays if Ref(ARRAY, index) in read}
        self.vector = _ACCESS // min(dtypes[i].itemsize for i in self.arrays or [0])
        self.columns = len(dtypes)
        self.scalars = [f"s{i}" for i in range(program.scalars)]
        self.number = ["u32 at"] if program.indexed else []

    def text(self) -> str:
        """The whole."""
        columns, scalars = self.columns, self.program.scalars
        return f"""\
{self.preamble()}

{LOCATE}

{head("update", TABLE)} {{
    {FIND}
    const u64 *first = table + {columns + 2} * tensors;
    const i64 chunks = (i64)first[tensors];
    for (i64 c = blockIdx.x; c < chunks; c += gridDim.x) {{
        const i64 i = locate(first, tensors, c);
        const i64 start = (c - (i64)first[i]) * {CHUNK};
        const i64 rest = (i64)table[{columns} * tensors + i] - start;
        const i64 n = rest < {CHUNK} ? rest : {CHUNK};
        const double *s =
            (const double *)(first + tensors + 1) + {scalars} * table[{columns + 1} * tensors + i];
{indented(8, self.setup())}
{self.loops()}
    }}
}}
"""

    def preamble(self) -> str:
        """What stands before the kernel."""
        vector = self.vector
        return f"""\
typedef {ctype(self.real)} real;

// Sixteen bytes, as one thread loads and stores them. Left to itself, the compiler takes the
// addresses in the table for those of any memory and splits the stores.
struct alignas(16) words {{
    u32 a, b, c, d;
    __device__ inline void load(const void *from) {{
#ifdef __CUDA_ARCH__
        asm volatile("ld.global.v4.u32 {{%0, %1, %2, %3}}, [%4];"
                     : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                     : "l"(__cvta_generic_to_global(from)));
#else
        memcpy(this, from, 16);
#endif
    }}
    __device__ inline void store(void *to) const {{
#ifdef __CUDA_ARCH__
        asm volatile("st.global.v4.u32 [%0], {{%1, %2, %3, %4}};" ::
                     "l"(__cvta_generic_to_global(to)), "r"(a), "r"(b), "r"(c), "r"(d)
                     : "memory");
#else
        memcpy(to, this, 16);
#endif
    }}
}};

// {vector} elements of one array.
template <class T> struct pack {{
    T at[{vector}];
    __device__ inline void load(const T *from) {{
        words w[sizeof(at) / 16];
#pragma unroll
        for (int i = 0; i < (int)(sizeof(at) / 16); ++i) w[i].load((const words *)from + i);
        memcpy(at, w, sizeof(at));
    }}
    __device__ inline void store(T *to) const {{
        words w[sizeof(at) / 16];
        memcpy(w, at, sizeof(at));
#pragma unroll
        for (int i = 0; i < (int)(sizeof(at) / 16); ++i) w[i].store((words *)to + i);
    }}
}};

{ROUNDING if self.number else ""}
{self._rule()}"""

    def loops(self) -> str:
        """From element to element of a chunk of n, a vector at a time where that is possible."""
        vector = self.vector
        addresses = " | ".join(f"(u64)x{i}" for i in self.arrays) or "0"
        at = ["(u32)(start + j)"] if self.number else []
        elements = ", ".join([*(f"x{i}[j]" for i in self.arrays), *self.scalars, *at])
        return f"""\
        i64 done = 0;
        if ((({addresses}) & 15) == 0) {{
            done = n - n % {vector};
            for (i64 j = (i64)threadIdx.x * {vector}; j < done; j += (i64)blockDim.x * {vector}) {{
{indented(16, self._vector_body())}
            }}
        }}
        for (i64 j = done + threadIdx.x; j < n; j += blockDim.x)
            one({elements});"""

    def _rule(self) -> str:
        """The function that updates one element."""
        given = [f"{kind} {'&' if i in self.stored else ''}x{i}" for i, kind in self.arrays.items()]
        given += [*(f"real {name}" for name in self.scalars), *self.number]
        lines = [f"real a{i} = as<real>(x{i});" for i in self.arrays if i in self.read]
        lines += self.instructions()
        lines += [f"put(x{i}, {ref});" for i, ref in self.stored.items()]
        return (
            f"// {self.program.name}({', '.join(self.program.arrays)})\n"
            f"__device__ inline void one({', '.join(given)}) {{\n{indented(4, lines)}\n}}"
        )

    def instructions(self) -> list[str]:
        """What is computed of one element."""
        double = self.real.itemsize == 8
        lines: list[str] = []
        for number, (op, args) in enumerate(self.program.instructions):
            texts = [str(arg) for arg in args]
            if op == "where" and args[0].kind == SCALAR:
                texts[0] = f"({texts[0]} != 0)"
            kind = "bool" if op in BOOLEAN else "real"
            lines.append(f"{kind} r{number} = {expression(op, texts, double=double)};")
        return lines

    def setup(self) -> list[str]:
        """The scalars of a tensor and where its chunk of each array begins."""
        lines = [f"const real s{i} = (real)s[{i}];" for i in range(self.program.scalars)]
        for i, kind in self.arrays.items():
            element = f"{'' if i in self.stored else 'const '}{kind}"
            lines.append(f"{element} *x{i} = ({element} *)table[{i} * tensors + i] + start;")
        return lines

    def _vector_body(self) -> list[str]:
        lines = [f"pack<{kind}> e{i};" for i, kind in self.arrays.items()]
        lines += [f"e{i}.load(x{i} + j);" for i in self.arrays if i in self.read]
        at = ["(u32)(start + j + k)"] if self.number else []
        elements = ", ".join([*(f"e{i}.at[k]" for i in self.arrays), *self.scalars, *at])
        lines += ["#pragma unroll", f"for (int k = 0; k < {self.vector}; ++k) one({elements});"]
        return lines + [f"e{i}.store(x{i} + j);" for i in self.stored]


class CodedWriter(UpdateWriter):
    """The text of a kernel whose blocks of threads take blocks of a codec, an element a thread.

    What is coded is kept by the threads until the scale of the block is known.
    """

    @override
    def preamble(self) -> str:
        return f"typedef {ctype(self.real)} real;\n\n{ROUNDING}\n{helpers()}\n{self._rule()}"

    @override
    def _rule(self) -> str:
        given: list[str] = []
        lines: list[str] = []
        stores: list[str] = []
        for i, kind in self.arrays.items():
            if not self.program.codec(i):
                given.append(f"{kind} {'&' if i in self.stored else ''}x{i}")
            else:
                given += [f"float x{i}"] if i in self.read else []
                given += [f"float &kept{i}"] if i in self.stored else []
            if i in self.read:
                lines.append(f"real a{i} = as<real>(x{i});")
            if i in self.stored:
                place = f"kept{i}" if self.program.codec(i) else f"x{i}"
                stores.append(f"put({place}, {self.stored[i]});")
        given += [*(f"real {name}" for name in self.scalars), *self.number]
        return (
            f"// {self.program.name}({', '.join(self.program.arrays)})\n"
            f"__device__ inline void one({', '.join(given)}) {{\n"
            f"{indented(4, [*lines, *self.instructions(), *stores])}\n}}"
        )

    @override
    def setup(self) -> list[str]:
        lines = [f"const real s{i} = (real)s[{i}];" for i in range(self.program.scalars)]
        for i, kind in self.arrays.items():
            element = f"{'' if i in self.stored else 'const '}{kind}"
            place = f"start / {BLOCK} * {FULL}" if self.program.codec(i) else "start"
            lines.append(f"{element} *x{i} = ({element} *)table[{i} * tensors + i] + {place};")
            if self.program.codec(i) and i in self.stored:
                t, number = self.program.chance
                seed = SLOTS + self.program.coded_place(i)
                lines.append(f"const u32 key{i} = key_of({t}, {number}, {seed});")
        return lines

    @override
    def loops(self) -> str:
        coded = [i for i in self.arrays if self.program.codec(i)]
        elements: list[str] = []
        for i in self.arrays:
            if i not in coded:
                elements.append(f"x{i}[first + e]")
                continue
            if i in self.read:
                name = NAMES[self.program.codec(i)]
                elements.append(f"{name}::decode(block{i}[{SCALE} + e], scale{i})")
            elements += [f"kept{i}[e]"] if i in self.stored else []
        elements += [*self.scalars, *(["(u32)(start + first + e)"] if self.number else [])]
        kept = [i for i in coded if i in self.stored]
        setup = [f"__shared__ float kept{i}[{BLOCK}];" for i in kept]
        views = [
            f"{'' if i in kept else 'const '}u8 *block{i} = x{i} + first / {BLOCK} * {FULL};"
            for i in coded
        ]
        views += [f"const float scale{i} = *(const float *)block{i};" for i in coded]
        at = "(u32)(start + first)"
        names = {i: NAMES[self.program.codec(i)] for i in kept}
        encoded = [f"encode<{names[i]}>(block{i}, kept{i}, count, {at}, key{i});" for i in kept]
        return f"""\
{indented(8, setup)}
        for (i64 first = 0; first < n; first += {BLOCK}) {{
            const int count = n - first < {BLOCK} ? (int)(n - first) : {BLOCK};
{indented(12, views)}
            for (int e = threadIdx.x; e < count; e += blockDim.x)
                one({", ".join(elements)});
            __syncthreads();
{indented(12, encoded)}
        }}"""


def expression(op: str, texts: Sequence[str], *, double: bool) -> str:
    """The text of an operation on others."""
    if narrow := stochastic(op):
        return rounding(narrow, texts)
    pattern = _PATTERNS.get(op)
    if pattern is not None:
        return pattern.format(*texts)
    return f"{_FUNCTIONS[op]}{'' if double else 'f'}({', '.join(texts)})"


def indented(spaces: int, lines: Sequence[str]) -> str:
    """Lines of a text, further to the right."""
    return "\n".join(" " * spaces + line for line in lines)
