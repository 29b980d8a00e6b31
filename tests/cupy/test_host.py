"""The machine that runs kernels on the host: it does what a device does, and refuses the rest."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from born_cupy.kernels import Source
from tests.simulator import host


def kernel(parameters: str, body: str) -> Source:
    return Source("tried", f'extern "C" __global__ void tried({parameters}) {{ {body} }}')


DOUBLED: Final = kernel(
    "const float *x, float *y, i64 n",
    "i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; if (i < n) y[i] = 2.0f * x[i];",
)
BLOCK_SUM: Final = kernel(
    "const double *x, double *sums",
    """
    __shared__ double parts[4];
    double sum = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (int bit = 16; bit; bit /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bit);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) sums[blockIdx.x] = parts[0] + parts[1] + parts[2] + parts[3];
    """,
)
TAIL: Final = kernel(
    "const int *x, int *y",
    "int i = threadIdx.x; y[i] = __shfl_down_sync(0xffffffffu, x[i], 3);",
)
TURNS: Final = kernel(
    "int *turns, int *clock", "turns[blockIdx.x * blockDim.x + threadIdx.x] = (*clock)++;"
)
COUNT: Final = kernel("int *total", "atomicAdd(total, 1);")
UNSET: Final = kernel(
    "double *y",
    "__shared__ double s[2]; y[blockIdx.x] = s[0]; s[0] = 1.0; __syncthreads();",
)
PRODUCT: Final = kernel("float *x, float a, float b", "x[0] = a * b + x[0];")

FAULTS: Final = {
    "left while others wait": (
        kernel("int *x", "if (threadIdx.x) return; __syncthreads();"),
        "left the kernel is waited for",
    ),
    "two barriers": (
        kernel("int *x", "if (threadIdx.x) {\n__syncthreads();\n} else __syncthreads();"),
        "in two places",
    ),
    "for ever": (
        kernel("int *x", "if (threadIdx.x) __syncthreads(); else __syncwarp(3u);"),
        "for ever",
    ),
    "a mask without itself": (
        kernel("int *x", "x[0] = __shfl_xor_sync(1u << 5, 1, 1);"),
        "not in its own mask",
    ),
    "a mask with no such lane": (
        kernel("int *x", "x[0] = __shfl_xor_sync(0xffffffffu, 1, 16);"),
        "a lane that the block has not",
    ),
    "not aligned": (
        kernel("int *x", "*(double *)(x + 1 + 2 * (((u64)x & 4) == 4)) = 1.0;"),
        "not aligned",
    ),
    "out of shared memory": (
        kernel("int *x", "__shared__ int s[4]; s[x[0] + 4] = 1; x[0] = s[0];"),
        "out of an array's bounds",
    ),
    "int overflows": (kernel("int *x", "x[0] = (x[0] + 0x7fffffff) + 1;"), "overflows"),
}
"""What a device would leave undefined -> a kernel that does it, and what is said of it."""


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:  # pyright: ignore[reportUnusedFunction]  # pytest calls it
    sources = [DOUBLED, BLOCK_SUM, TAIL, TURNS, COUNT, UNSET, PRODUCT]
    host.build([*sources, *(source for source, _ in FAULTS.values())])


def test_threads_find_their_elements() -> None:
    x = np.arange(6, dtype=np.float32)
    y = np.zeros_like(x)
    host.launch(DOUBLED, 2, 4, [x, y, np.int64(6)])
    assert y.tolist() == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("order", [None, 1, 2])
def test_threads_of_a_block_wait_and_exchange(order: int | None) -> None:
    x = np.arange(3 * 128, dtype=np.float64)
    sums = np.zeros(3)
    host.launch(BLOCK_SUM, 3, 128, [x, sums], order=order)
    assert sums.tolist() == x.reshape(3, 128).sum(axis=1).tolist()


def test_a_lane_past_the_last_gives_back_ones_own_value() -> None:
    x = np.arange(64, dtype=np.int32)
    y = np.zeros_like(x)
    host.launch(TAIL, 1, 64, [x, y])
    lanes = np.arange(64) % 32
    assert y.tolist() == np.where(lanes < 29, x + 3, x).tolist()


def test_blocks_and_threads_run_in_turn_or_in_any_order() -> None:
    def turns(order: int | None) -> list[int]:
        taken = np.zeros(5 * 7, np.int32)
        host.launch(TURNS, 5, 7, [taken, np.zeros(1, np.int32)], order=order)
        return [int(turn) for turn in taken]

    assert turns(None) == list(range(35))
    assert turns(3) != turns(None)
    assert turns(3) != turns(4)
    assert sorted(turns(3)) == list(range(35))


def test_atomic_additions_lose_nothing() -> None:
    total = np.zeros(1, np.int32)
    host.launch(COUNT, 9, 33, [total])
    assert total[0] == 9 * 33


def test_shared_memory_starts_undefined_in_every_block() -> None:
    y = np.zeros(2)
    host.launch(UNSET, 2, 1, [y])
    assert np.isnan(y).all()


def test_products_and_sums_are_rounded_one_by_one() -> None:
    a = np.float32(1 + 2**-12)
    x = np.array([-1 - 2**-11], np.float32)
    host.launch(PRODUCT, 1, 1, [x, a, a])
    assert x[0] == 0, "a fused product and sum would give 2**-24"


@pytest.mark.parametrize(
    "change",
    [
        {"x": np.zeros(6)},
        {"y": np.zeros(6, np.int32)},
        {"n": np.int32(6)},
        {"n": np.float64(6)},
        {"n": 6},
        {"x": np.float32(1)},
    ],
    ids=str,
)
def test_arguments_of_another_type_are_refused(change: dict[str, object]) -> None:
    given: dict[str, object] = {
        "x": np.zeros(6, np.float32),
        "y": np.zeros(6, np.float32),
        "n": np.int64(6),
    }
    with pytest.raises(host.LaunchError, match=r"argument \d of tried is"):
        host.launch(DOUBLED, 1, 8, list({**given, **change}.values()))


def test_too_few_arguments_are_refused() -> None:
    with pytest.raises(host.LaunchError, match="takes 3 arguments, got 1"):
        host.launch(DOUBLED, 1, 8, [np.zeros(6, np.float32)])


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_device_leaves_undefined_is_an_error(name: str) -> None:
    source, said = FAULTS[name]
    with pytest.raises(host.LaunchError, match=said):
        host.launch(source, 1, 4, [np.ones(64, np.int32)])


def test_a_fault_leaves_the_machine_in_order() -> None:
    source, _ = FAULTS["left while others wait"]
    with pytest.raises(host.LaunchError):
        host.launch(source, 1, 4, [np.ones(64, np.int32)])
    test_threads_of_a_block_wait_and_exchange(None)


def test_a_text_that_does_not_compile_shows_the_compilers_message() -> None:
    with pytest.raises(host.LaunchError, match="nonsense"):
        host.build([kernel("int *x", "nonsense;")])
