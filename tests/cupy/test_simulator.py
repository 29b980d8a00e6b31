"""The simulator of CuPy: what it has, CuPy has too, and it fails where CuPy would."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

import numpy as np
import pytest

from born.dtypes import DTYPE_NAMES, as_dtype
from born_cupy.kernels import Source
from born_cupy.kernels.source import head
from tests import simulator
from tests.simulator import functions, host, machine
from tests.simulator.arrays import ufunc

OWN: Final = {
    "ndarray": {"host", "memory", "reached", "by_numpy"},
    "Stream": {"later", "run", "catch_up", "pending"},
    "Event": {"tasks"},
    "CUDARuntimeError": {"__init__"},
}
"""Class -> what it has for the simulator's own sake."""

MODULES: Final = tuple(simulator.modules())


# -- beside the package that it stands in for --


@pytest.fixture
def real() -> dict[str, ModuleType]:
    """The modules of CuPy itself."""
    pytest.importorskip("cupy", reason="CuPy is not installed; run: pip install cupy-cuda12x")
    if not hasattr(sys.modules["cupy"], "__file__"):
        pytest.skip("the simulator is in the place of CuPy")
    return {name: importlib.import_module(name) for name in MODULES}


def public(owner: object) -> dict[str, Any]:
    """What a module or a class defines under names for its users."""
    return {
        name: value
        for name, value in vars(owner).items()
        if not name.startswith("_") or name in ("__init__", "__call__")
    }


def parameters(function: Any) -> list[inspect.Parameter] | None:
    """The parameters of a function but `self`; of Cython's by the first line of its docstring."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        signature = None
    if signature is None or str(signature).endswith("*args, **kwargs)"):
        listed = re.match(r"[\w.]+\((.*?)\)( ->.*)?$", (function.__doc__ or "").split("\n")[0])
        if listed is None or listed[1].endswith("*args, **kwargs"):
            return None
        names: list[str] = []
        for part in filter(None, listed[1].split(", ")):
            name, _, default = part.partition("=")
            names.append(name.split()[-1] + ("=None" if default else ""))
        made: dict[str, Any] = {}
        exec(f"def function({', '.join(names)}): ...", made)
        signature = inspect.signature(made["function"])
    return [each for each in signature.parameters.values() if each.name != "self"]


def assert_accepted(name: str, ours: Any, theirs: Any) -> None:
    """Whatever call the simulator takes, CuPy takes, and takes it the same way."""
    own, other = parameters(ours), parameters(theirs)
    if own is None or other is None:
        return
    by_name = {each.name: each for each in other}
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in other):
        own = [each for each in own if each.kind is not inspect.Parameter.POSITIONAL_ONLY]
    for place, each in enumerate(own):
        assert each.name in by_name, f"{name}: CuPy's has no parameter {each.name!r}"
        if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            assert other[place].name == each.name, f"{name}: {each.name!r} is elsewhere in CuPy's"
        needed = by_name[each.name].default is inspect.Parameter.empty
        assert (
            not needed
            or each.default is inspect.Parameter.empty
            or (each.kind is inspect.Parameter.VAR_POSITIONAL)
        ), f"{name}: CuPy's needs {each.name!r}"
    for each in other[len(own) :]:
        optional = each.default is not inspect.Parameter.empty
        assert optional or each.kind.name.startswith("VAR"), f"{name}: CuPy's needs {each.name!r}"


@pytest.mark.parametrize("module", MODULES)
def test_every_name_is_one_of_cupys(module: str, real: dict[str, ModuleType]) -> None:
    checked = 0
    for name, ours in public(simulator.modules()[module]).items():
        assert hasattr(real[module], name), f"{module} has no {name}"
        theirs = getattr(real[module], name)
        checked += 1
        if not inspect.isclass(ours):
            if callable(ours) and not isinstance(ours, ModuleType | ufunc):
                assert_accepted(f"{module}.{name}", ours, theirs)
            continue
        for attribute, own in public(ours).items():
            if attribute in OWN.get(name, set()):
                continue
            assert hasattr(theirs, attribute), f"{module}.{name} has no {attribute}"
            if callable(own):
                full = f"{module}.{name}.{attribute}"
                assert_accepted(full, own, getattr(theirs, attribute))
    assert checked or module.startswith("cupy_backends") or module in ("cupyx", "cupyx.scipy")


@pytest.mark.parametrize("name", functions.UFUNCS)
def test_functions_of_elements_give_cupys_dtypes(name: str, real: dict[str, ModuleType]) -> None:
    theirs = getattr(real["cupy"], name)
    with simulator.installed():
        cupy: Any = sys.modules["cupy"]
        ours = getattr(cupy, name)
        assert ours.__name__ == theirs.__name__
        for dtype in map(as_dtype, DTYPE_NAMES):
            array = cupy.ones(3, dtype)
            try:
                got = ours(*(array,) * theirs.nin).dtype
            except TypeError:
                got = None
            # CuPy has a loop for bools that raises the error that NumPy raises.
            if not (dtype == np.bool_ and got is None):
                assert got == result_dtype(theirs, dtype), f"{name} of {dtype}"


def result_dtype(function: Any, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """What CuPy's function of elements makes of arrays of a dtype; None if it refuses them."""
    loop: Any = function._ops._guess_routine_from_in_types((dtype,) * function.nin)
    return np.dtype(loop.out_types[0]) if loop else None


# -- by itself --


def test_arrays_do_not_become_numpys_unasked(cupy: Any) -> None:
    x = cupy.ones(3)
    for convert in (np.asarray, np.sum):
        with pytest.raises(TypeError, match=r"Implicit conversion|not NumPy's"):
            convert(x)
    assert x.get().tolist() == [1, 1, 1]


def test_arrays_do_not_mix_with_numpys(cupy: Any) -> None:
    x, host_array = cupy.ones(3), np.ones(3)
    mixtures: list[Callable[[], object]] = [
        lambda: x + host_array,
        lambda: host_array + x,
        lambda: cupy.maximum(x, host_array),
        lambda: x.__setitem__(0, host_array),
        lambda: cupy.concatenate([x, host_array]),
    ]
    for mixed in mixtures:
        with pytest.raises(TypeError, match=r"Unsupported type|Only cupy arrays"):
            mixed()
    assert (np.float32(2) * x).get().tolist() == [2, 2, 2]


def test_results_without_axes_stay_arrays(cupy: Any) -> None:
    x = cupy.arange(3)
    for result in (x.sum(), x[1], cupy.add(x[0], 1), cupy.argmax(x)):
        assert isinstance(result, cupy.ndarray)
        assert result.shape == ()


def test_indices_out_of_range_wrap_around(cupy: Any) -> None:
    x, index = cupy.arange(6).reshape(2, 3), cupy.array([1, 5, -4])
    assert x[:, index].get().tolist() == [[1, 2, 2], [4, 5, 5]]
    assert x[..., index].get().tolist() == x[:, index].get().tolist()
    assert x[index, 0].get().tolist() == [3, 3, 0]
    assert cupy.take_along_axis(x[0], index, 0).get().tolist() == [1, 2, 2]
    x[index, None, index] = 9
    assert x.get().tolist() == [[0, 1, 9], [3, 9, 9]]
    with pytest.raises(IndexError, match="out of bounds"):
        x[2]


def test_nothing_warns_of_what_is_not_finite(cupy: Any) -> None:
    x = cupy.zeros(2, np.float32)
    with np.errstate(all="raise"):
        assert np.isnan((x / x).get()).all()
        assert np.isinf(cupy.log(x).get()).all()


def test_views_share_memory_and_copies_do_not(cupy: Any) -> None:
    x = cupy.zeros((2, 3))
    for view in (x[1], x.T, x.reshape(6), x.ravel(), x[:, ::-1], cupy.broadcast_to(x, (4, 2, 3))):
        assert view.memory is x.memory
    for copy in (x.copy(), x.T.ravel(), x[cupy.array([0])], x + 1, x.astype(np.float32)):
        assert copy.memory is not x.memory
    assert x[1].data.ptr - x.data.ptr == 3 * 8
    assert x.T.copy(order="F").flags.f_contiguous


def test_additions_at_repeated_indices_come_in_no_order(cupy: Any) -> None:
    values = cupy.array(np.random.default_rng(0).normal(size=999).astype(np.float32))
    index = cupy.zeros(999, np.int64)

    def total() -> float:
        x = cupy.zeros(1, np.float32)
        cupy.add.at(x, index, values)
        return float(x[0])

    totals = {total() for _ in range(9)}
    assert len(totals) > 1
    assert np.allclose(list(totals), values.get().sum(), atol=1e-3)
    with pytest.raises(TypeError, match="only supports int32"):
        cupy.add.at(cupy.zeros(1, np.uint8), index, 1)


def test_memory_starts_undefined_and_ends(cupy: Any) -> None:
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    x = cupy.empty((7, 5), np.float32)
    assert np.isnan(x.get()).all()
    assert pool.used_bytes() == before + 512
    pool.set_limit(size=before + 1024)
    try:
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="allocating 1,024 bytes"):
            cupy.empty(513, np.uint8)
    finally:
        pool.set_limit(size=0)
    del x
    assert pool.used_bytes() == before


def test_arrays_of_another_device_are_refused(cupy: Any) -> None:
    with cupy.cuda.Device(1):
        x = cupy.ones(2)
        assert str(x.device) == "<CUDA Device 1>"
    with pytest.raises(ValueError, match="is different from the current device"):
        cupy.add(x, 1)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="invalid device ordinal"):
        cupy.cuda.Device(2).use()


def test_what_waits_for_the_device_is_noted(cupy: Any) -> None:
    x, stream = cupy.arange(3), cupy.cuda.Stream()
    with simulator.waiting() as waits:
        y = (x + x).sum() * 2
        stream.wait_event(stream.record())
        assert waits == []
    with simulator.waiting() as waits:
        float(y)
        x[x > 1]
        stream.synchronize()
    assert waits == ["ndarray.get", "ndarray.__getitem__ of a mask", "Stream.synchronize"]


def uploaded(cupy: Any, stream: Any) -> tuple[Any, Any, Any]:
    """Page-locked memory, an array, and the event after which it holds the memory's ones."""
    pinned = cupy.cuda.alloc_pinned_memory(24)
    np.frombuffer(pinned, np.float64, 3)[:] = 1
    x = cupy.zeros(3)
    x.data.copy_from_host_async(pinned.ptr, x.nbytes, stream)
    return pinned, x, stream.record()


def test_a_copy_is_made_when_it_is_waited_for(cupy: Any) -> None:
    stream = cupy.cuda.Stream(non_blocking=True)
    _pinned, x, copied = uploaded(cupy, stream)
    assert not copied.done
    assert x.sum().get() == 0, "nothing makes the current stream wait for the other"
    cupy.cuda.get_current_stream().wait_event(copied)
    assert x.sum().get() == 3
    assert copied.done
    assert stream.done


def test_memory_that_is_written_to_before_it_is_read_shows(cupy: Any) -> None:
    stream = cupy.cuda.Stream(non_blocking=True)
    pinned, x, copied = uploaded(cupy, stream)
    np.frombuffer(pinned, np.float64, 3)[:] = 5
    copied.synchronize()
    assert x.get().tolist() == [5, 5, 5]


def test_memory_that_is_freed_before_it_is_read_is_an_error(cupy: Any) -> None:
    stream = cupy.cuda.Stream(non_blocking=True)
    pinned, _, copied = uploaded(cupy, stream)
    del pinned
    with pytest.raises(AssertionError, match="freed before it was read"):
        copied.synchronize()


def test_streams_that_block_take_turns_with_the_default_one(cupy: Any) -> None:
    _pinned, x, _ = uploaded(cupy, cupy.cuda.Stream())
    assert x.sum().get() == 3


def loaded(cupy: Any, body: str) -> Any:
    """A kernel of one array of doubles."""
    source = Source("tried", f"{head('tried', 'double *x')} {{ {body} }}")
    module = importlib.import_module("cupy.cuda.function").Module()
    module.load(source.whole.encode())
    return module.get_function("tried")


def test_kernels_take_only_what_they_declare(cupy: Any) -> None:
    kernel = loaded(cupy, "x[0] = 1.0;")
    with pytest.raises(host.LaunchError, match=r"argument 0 of tried is float64\*"):
        kernel((1,), (1,), (cupy.zeros(1, np.float32),))
    with cupy.cuda.Device(1):
        elsewhere = cupy.zeros(1)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="illegal memory access"):
        kernel((1,), (1,), (elsewhere,))


@pytest.mark.parametrize("place", [-1, 3])
def test_writing_outside_of_memory_is_an_error(place: int, cupy: Any) -> None:
    kernel = loaded(cupy, f"x[{place}] = 1.0;")
    x = cupy.zeros(3)
    with pytest.raises(AssertionError, match="tried wrote outside of all memory"):
        kernel((1,), (1,), (x,))
    machine.forget(x.memory)  # so that only this test sees it broken


@pytest.mark.parametrize("wait", ["", "__syncthreads();"])
def test_reading_behind_memory_is_an_error(wait: str, cupy: Any) -> None:
    kernel = loaded(cupy, f"{wait} x[0] = x[4];")
    for _ in range(2):
        with pytest.raises(host.LaunchError, match="an access outside of all memory"):
            kernel((1,), (1,), (cupy.zeros(4),))
    kernel((1,), (1,), (cupy.zeros(5),))


def test_a_kernel_runs_on_its_device_alone(cupy: Any) -> None:
    kernel = loaded(cupy, "x[0] = 1.0;")
    x = cupy.zeros(1)
    with (
        cupy.cuda.Device(1),
        pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="invalid resource handle"),
    ):
        kernel((1,), (1,), (x,))


def test_it_leaves_as_it_came() -> None:
    names = ("cupy", "born_cupy.backend")
    before = [sys.modules.get(name) for name in names]
    with simulator.installed():
        backend = importlib.import_module("born_cupy.backend")
        assert backend.cupy is sys.modules["cupy"]
        assert all(sys.modules[name] is not old for name, old in zip(names, before, strict=True))
    assert [sys.modules.get(name) for name in names] == before


def test_what_is_compiled_is_kept_for_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if host.compiler() is None:
        pytest.skip(host.NEEDS_COMPILER)

    def refuse(command: object) -> NoReturn:
        raise AssertionError(f"it was compiled before: {command}")

    monkeypatch.setenv(host.FOLDER_VARIABLE, str(tmp_path))
    text = head("twice", "int *xs") + " { xs[threadIdx.x] *= 2; }"
    for _ in range(2):
        monkeypatch.setattr(host, "_kernels", {})  # as in a new process
        xs = np.arange(3, dtype=np.int32)
        host.launch(Source("twice", text), 1, 3, [xs])
        assert xs.tolist() == [0, 2, 4]
        monkeypatch.setattr(host, "_output", refuse)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".o", ".so"]
