"""Who takes part in `benchmarks/`, and that all of them do the same work."""

from __future__ import annotations

import importlib
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import NoReturn

import numpy as np
import pytest

from benchmarks import digits, libraries, limit, optimizer_step, scaling, training_step
from benchmarks.classifier import LEARNING_RATE, Network, make_problem
from benchmarks.harness import Competitor, Entry, Skipped, Work, check_agreement
from benchmarks.jobs import JOBS, Job, gpt2_shapes
from benchmarks.libraries import INSTALL, Place
from benchmarks.optimizer_step import PARTS
from born import nn, optim, tensor
from born.autodiff import Autodiff, backward
from born.errors import BackendUnavailableError
from born_numpy import NumpyBackend
from tests.benchmarks.world import without
from tests.fusion.kernels import NEEDS_NUMBA

SMALL = Network((3, 4, 5, 2), batch=5)
HERE = Place({"born numpy": NumpyBackend})
OTHERS = {"torch", "jax", "optax", "autograd", "mygrad", "sklearn"}

AGREE = 1e-4
"""Between losses of a small network: rounding, which Adam's division by the size of a small
gradient enlarges; another formula differs by far more."""


def running(entries: Sequence[Entry]) -> list[Competitor]:
    return [each for each in entries if isinstance(each, Competitor)]


def reasons(entries: Sequence[Entry]) -> dict[str, str]:
    return {each.name: each.reason for each in entries if isinstance(each, Skipped)}


def small(job: Job) -> Job:
    """The same optimizer on a few small tensors."""
    return replace(job, shapes=[(10,), (2, 3), (1,)])


def test_without_the_others_born_runs_and_the_reasons_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without(monkeypatch, OTHERS)
    entries = training_step.entries(SMALL, HERE)
    assert [each.name for each in running(entries)] == ["born numpy"]
    assert reasons(entries) == {
        "PyTorch": f"No module named 'torch'; run: {INSTALL}",
        "JAX jit": f"No module named 'jax'; run: {INSTALL}",
        "autograd": f"No module named 'autograd'; run: {INSTALL}",
        "MyGrad": f"No module named 'mygrad'; run: {INSTALL}",
    }
    assert reasons(digits.entries(HERE)) == {
        "all": f"No module named 'sklearn.datasets'; scikit-learn has the digits; run: {INSTALL}"
    }


def test_libraries_that_are_installed_train_alike() -> None:
    competitors = running(training_step.entries(SMALL, HERE))
    assert competitors[0].ours
    assert len(check_agreement(competitors, AGREE)) == len(competitors)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.title)
def test_libraries_that_are_installed_update_alike(job: Job) -> None:
    competitors = running(optimizer_step.entries(small(job), libraries.place(None)))
    assert any(each.ours for each in competitors)
    check_agreement(competitors, job.tolerance)


def test_the_training_step_trains() -> None:
    step = training_step.born_step(make_problem(SMALL), NumpyBackend())
    losses = [step().item() for _ in range(400)]
    assert sum(losses[-32:]) < sum(losses[:32])


@pytest.mark.parametrize("network", training_step.NETWORKS, ids=str)
def test_training_meets_no_subnormal_numbers(network: Network) -> None:
    problem = make_problem(network)
    backend = Autodiff(NumpyBackend())
    widths = itertools.pairwise(network.widths)
    first, second = (nn.Linear(*fans, backend) for fans in widths)
    model = nn.Sequential(first, nn.ReLU(), second)
    model.load_state_dict(problem.weights)
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=LEARNING_RATE))
    for images, labels in itertools.islice(itertools.cycle(problem.batches), 1_000):
        with backend.tape:
            x, y = tensor(images, backend), tensor(labels, backend)
            loss = nn.cross_entropy(model(x), y)
        optimizer.step(backward(loss))
    for name, moment in optimizer.state_dict().items():
        sizes = np.abs(moment.array[moment.array != 0])
        assert name.startswith("t.") or sizes.min() > np.finfo(np.float32).tiny


def test_problems_are_the_same_each_time() -> None:
    one, two = make_problem(SMALL), make_problem(SMALL)
    assert {name: weight.shape for name, weight in one.weights.items()} == {
        "0.weight": (4, 3),
        "0.bias": (4,),
        "2.weight": (5, 4),
        "2.bias": (5,),
        "4.weight": (2, 5),
        "4.bias": (2,),
    }
    assert all((one.weights[name] == two.weights[name]).all() for name in one.weights)
    assert all((a[1] == b[1]).all() for a, b in zip(one.batches, two.batches, strict=True))


def test_a_variant_that_pytorch_lacks_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> NoReturn:
        raise RuntimeError("no fused kernel")

    torch = ModuleType("torch")
    vars(torch)["__version__"] = "1.0"

    def find(name: str) -> ModuleType:
        assert name == "torch"
        return torch

    monkeypatch.setattr(importlib, "import_module", find)
    assert libraries.pytorch_entries(HERE, refuse) == [
        Skipped(f"PyTorch {variant}", "PyTorch 1.0: no fused kernel")
        for variant in ("default", "foreach", "fused")
    ]


def test_a_backend_that_is_unusable_is_skipped_with_its_reason() -> None:
    def refuse() -> NoReturn:
        raise BackendUnavailableError("no such thing; install it")

    here = Place({"born other": refuse, "born numpy": NumpyBackend})
    entries = libraries.born_entries(here, lambda backend: lambda: None)
    assert entries[0] == Skipped("born other", "no such thing; install it")
    assert [each.name for each in running(entries)] == ["born numpy"]


def test_gpt2_has_the_parameters_that_were_published() -> None:
    shapes = gpt2_shapes()
    assert len(shapes) == 148
    assert sum(map(math.prod, shapes)) == 124_439_808


def test_jobs_move_what_they_read_and_write() -> None:
    found = {job.title: (job.moved / job.elements, job.held / job.elements) for job in JOBS}
    assert found["Adam, 1 tensor of 16M"] == (28.0, 16.0)  # p, m, v read and written, g read
    assert found["Adam, 1 tensor of 16M, first moment in bfloat16"] == (24.0, 14.0)
    assert found["SGD with momentum, 1 tensor of 16M"] == (20.0, 12.0)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.title)
def test_the_limit_reads_and_writes_what_the_optimizer_does(job: Job, threads: int) -> None:
    numba = pytest.importorskip("numba", reason=NEEDS_NUMBA)
    job = replace(job, shapes=[(100_000,)])
    streams = limit.streams_of(job)
    assert sum(stream.nbytes for stream in streams) == job.held
    assert len({stream.ctypes.data % 4096 for stream in streams}) == len(streams)
    assert all(stream.ctypes.data % 64 == 0 for stream in streams)
    step = limit.loop_over(streams, numba, threads)
    p, g, *slots = [stream.copy() for stream in streams]
    step()
    assert np.array_equal(streams[0], p + 1)
    assert np.array_equal(streams[1], g)
    assert all((now != before).all() for now, before in zip(streams[2:], slots, strict=True))


@pytest.mark.parametrize("works", [optimizer_step.works, training_step.works])
def test_what_depends_on_where_memory_lies_is_made_anew(
    works: Callable[[Place], list[Work]],
) -> None:
    assert {work.draws for work in works(HERE)} == {HERE.draws}
    assert HERE.draws > 1


def test_the_limit_is_what_the_fastest_number_of_threads_reaches() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.002)

    def fast() -> None:
        calls.append("fast")

    assert limit.fastest(slow, fast) is fast
    assert calls.count("slow") == calls.count("fast") > 1


# -- digits ----------------------------------------------------------------------------------


def test_digits_are_trained_on_by_born_and_by_scikit_learn() -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    competitors = running(digits.entries(HERE, epochs=1))
    assert [each.name for each in competitors] == ["born numpy", "scikit-learn"]
    found = check_agreement(competitors, tolerance=0.2, steps=2)
    # One epoch is enough to read most, and the same each time.
    assert all(0.7 < accuracy < 1.0 for accuracy in found.values())


def test_the_work_says_whether_the_goal_was_reached() -> None:
    (work,) = digits.works(HERE)
    assert work.remark is not None
    assert work.remark(0.98) == "reads 98.0%"
    assert work.remark(0.94) == "reads 94.0%, short of 97%"


# -- scaling ---------------------------------------------------------------------------------


def test_curves_go_from_end_to_end() -> None:
    works = scaling.works(HERE, free=10**12)
    points = [work.point for work in works if work.point is not None]
    assert len(points) == len(works)
    assert [p.value for p in points if p.axis == "elements"] == list(scaling.SIZES)
    assert [p.value for p in points if p.axis == "tensors"] == list(scaling.NUMBERS)
    assert (scaling.SIZES[0], scaling.SIZES[-1]) == (1_000, 100_000_000)
    assert (scaling.NUMBERS[0], scaling.NUMBERS[-1]) == (1, 10_000)
    assert len({work.name for work in works}) == len(works)
    assert all(
        work.bytes == 28 * scaling.TOTAL
        for work, point in zip(works, points, strict=True)
        if point.axis == "tensors"
    )


def test_what_does_not_fit_together_is_timed_one_library_after_the_other() -> None:
    largest = scaling.SIZES[-1]
    works = [
        work
        for work in scaling.works(HERE, free=8 * 10**9)
        if work.point is not None and work.point.value == largest
    ]
    assert len(works) == len(PARTS)


def test_what_does_not_fit_at_all_is_left_out_with_the_reason() -> None:
    largest = scaling.SIZES[-1]
    works = [
        work
        for work in scaling.works(HERE, free=10**9)
        if work.point is not None and work.point.value == largest
    ]
    found = reasons([each for work in works for each in work.prepare()])
    assert found.keys() == {part.name for part in PARTS}
    assert found["JAX jit"] == "takes 3.6 GB of memory, and 1.0 are free"


def test_jax_is_left_out_where_compiling_would_take_minutes() -> None:
    job = replace(JOBS[0], shapes=2_000 * [(1,)])
    (entry,) = optimizer_step.jax_part(job, HERE, [], [])
    assert isinstance(entry, Skipped)
    assert "compiling a step of more than 1,000 tensors takes minutes" in entry.reason


def test_buffers_larger_than_the_cache_are_stepped_over_in_turn() -> None:
    job = small(JOBS[0])
    here = replace(HERE, cache=job.held)
    competitors = running(optimizer_step.entries(job, here, PARTS[:1]))
    first = [_outcome(competitors[0]) for _ in range(8)]
    # Four times the cache, so four copies: each takes its first step, and then its second.
    assert len(set(first[:4])) == 1
    assert len(set(first[4:])) == 1
    assert first[0] != first[4]


def _outcome(competitor: Competitor) -> float:
    outcome = competitor.step()
    assert outcome is not None
    return outcome.item()


def test_place_names_what_there_is() -> None:
    assert "born numpy" in libraries.place(None).backends
    assert list(libraries.place("numpy").backends) == ["born numpy"]
    with pytest.raises(BackendUnavailableError, match=r"expected one of .*numpy.*, got 'abacus'"):
        libraries.place("abacus")
