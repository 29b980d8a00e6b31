"""Random programs: each gradient is right, or an error that the rules ask for.

A program runs in born and in a tiny reverse mode of its own (over a graph that nothing
changes), which also says when a `TapeError` is due: something walked twice, made by
another thread, or read after it changed. PyTorch, where installed, checks the reference.
"""

# The table's functions serve NumPy's arrays, born's tensors and PyTorch's alike.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import gc
import importlib.util
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest

from born import ops
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.errors import TapeError
from tests.autodiff.leaf import T, leaf

PROGRAMS: Final = 60  # for each seed

# name -> born's function, NumPy's, PyTorch's; the derivatives by each argument, from (arguments,
# result, gradient); and for each argument, which arguments its gradient reads
_F: Final[dict[str, tuple[Any, Any, list[Callable[..., Any]], list[list[int]]]]] = {
    "add": (lambda x, y: x + y, np.add, [lambda a, r, g: g, lambda a, r, g: g], [[], []]),
    "sub": (lambda x, y: x - y, np.subtract, [lambda a, r, g: g, lambda a, r, g: -g], [[], []]),
    "mul": (
        lambda x, y: x * y,
        np.multiply,
        [lambda a, r, g: g * a[1], lambda a, r, g: g * a[0]],
        [[1], [0]],
    ),
    "div": (
        lambda x, y: x / y,
        np.divide,
        [lambda a, r, g: g / a[1], lambda a, r, g: -g * r / a[1]],
        [[1], [1]],
    ),
    "tanh": (ops.tanh, np.tanh, [lambda a, r, g: g * (1 - r * r)], [[]]),
    "sin": (ops.sin, np.sin, [lambda a, r, g: g * np.cos(a[0])], [[0]]),
    "flip": (ops.flip, lambda x: x[::-1].copy(), [lambda a, r, g: g[::-1]], [[]]),
    "view": (lambda x: x.reshape((1, 3)).reshape((3,)), lambda x: x, [lambda a, r, g: g], [[]]),
}
VIEWS: Final = ("flip", "view")


@dataclass(eq=False)
class Node:
    """A value of the reference: of a leaf with the number of its version, or of an operation."""

    value: np.ndarray[Any, Any]
    name: str = ""
    parents: tuple[Node, ...] = ()
    required: bool = False
    reads: list[tuple[Memory, int]] = field(default_factory=list)
    memory: Memory | None = None  # that of the leaf which it is, or looks at
    foreign: bool = False
    ended: bool = False


@dataclass(eq=False)
class Memory:
    """What a leaf lies in; it changes."""

    tensor: T
    node: Node
    version: int = 0
    past: list[Node] = field(default_factory=list)


def _apply(name: str, args: list[Node]) -> Node:
    _, function, _, reads = _F[name]
    node = Node(function(*(a.value for a in args)), name, tuple(args))
    node.required = any(a.required for a in args)
    read = {i for a, places in zip(args, reads, strict=True) if a.required for i in places}
    node.reads = [(m, m.version) for i in read if (m := args[i].memory) is not None]
    node.memory = args[0].memory if name in VIEWS else None
    return node


def _order(root: Node) -> list[Node]:
    """What a walk passes, parents first."""
    done: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node.required and node not in done:
            for parent in node.parents:
                visit(parent)
            done[node] = None

    visit(root)
    return list(done)


def _gradients(order: list[Node], seed: np.ndarray[Any, Any]) -> dict[Node, Any]:
    gradients: dict[Node, Any] = {order[-1]: seed}
    for node in reversed(order):
        if node.parents:
            args = [p.value for p in node.parents]
            for parent, derive in zip(node.parents, _F[node.name][2], strict=True):
                if parent.required:
                    part = derive(args, node.value, gradients[node])
                    gradients[parent] = gradients.get(parent, 0) + part
    return gradients


def _check_against_pytorch(order: list[Node], seed: Any, ours: dict[Node, Any]) -> None:
    torch: Any = importlib.import_module("torch")
    twins: dict[Node, Any] = {}
    for node in order:
        if not node.parents:
            twins[node] = torch.tensor(node.value, requires_grad=True)
            continue
        args = [twins.get(p, torch.tensor(p.value.copy())) for p in node.parents]
        functions = {"flip": lambda x: x.flip(0), "tanh": torch.tanh, "sin": torch.sin}
        twins[node] = functions.get(node.name, _F[node.name][0])(*args)
    leaves = [node for node in order if not node.parents]
    theirs = torch.autograd.grad(twins[order[-1]], [twins[n] for n in leaves], torch.tensor(seed))
    for node, gradient in zip(leaves, theirs, strict=True):
        np.testing.assert_allclose(ours[node], gradient.numpy(), rtol=1e-9, atol=1e-12)


class Program:
    """A random program, in born and in the reference at once."""

    def __init__(self, autodiff: Autodiff[Backend], seed: int) -> None:
        self.autodiff, self.draw, self.outcome = autodiff, random.Random(seed), ""
        self.memories: list[Memory] = []
        self.known: list[tuple[T, Node]] = []
        for required in (True, True, True, False):
            values = [self.draw.uniform(0.5, 1.5) for _ in range(3)]
            x, node = leaf(autodiff, *values), Node(np.array(values), required=required)
            x.requires_grad = required
            node.memory = Memory(x, node, past=[node])
            self.memories.append(node.memory)
            self.known.append((x, node))

    def run(self) -> None:
        actions = ["operate"] * 12 + ["detach", "drop", "change", "elsewhere", "inside"]
        for _ in range(self.draw.randrange(5, 40)):
            getattr(self, self.draw.choice([*actions, "walk", "walk"]))()
            if self.outcome:
                return

    def operate(self) -> None:
        name = self.draw.choice(list(_F))
        picked = [self.draw.choice(self.known) for _ in _F[name][2]]
        with self.autodiff.tape, self.autodiff.tape:
            y = _F[name][0](*(x for x, _ in picked))
        node = _apply(name, [node for _, node in picked])
        if np.abs(node.value).max() < 1e3 and np.abs(node.value).min() > 1e-3:
            self.known.append((y, node))

    def elsewhere(self) -> None:
        count = len(self.known)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self.operate).result()
        for _, node in self.known[count:]:
            node.foreign = node.required

    def detach(self) -> None:
        x, node = self.draw.choice(self.known)
        # A copy: a detached view of a leaf that changes counts no versions.
        self.known.append((x.detach() * 1.0, Node(node.value)))

    def drop(self) -> None:
        self.known.pop(self.draw.randrange(len(self.known)))

    def change(self) -> None:
        memory = self.draw.choice(self.memories)
        before, x = memory.node, memory.tensor
        values = before.value + 0.25
        self.autodiff.assign(x.raw, self.autodiff.inner.from_numpy(values))
        memory.version += 1
        memory.node = Node(values, required=before.required, memory=memory)
        memory.past.append(memory.node)
        # What looks at the memory has changed too; the program does not use it any more.
        self.known = [(x, n) for x, n in self.known if n.memory is not memory]
        self.known.append((x, memory.node))

    def inside(self) -> None:
        (x, node), (y, _) = self.draw.choice(self.known), self.draw.choice(self.known)
        constant = y.detach()
        found = grad(lambda x: (ops.sin(x) * constant).sum())(x).numpy()
        np.testing.assert_allclose(found, np.cos(node.value) * constant.numpy(), rtol=1e-9)

    def walk(self) -> None:
        loss, root = self.draw.choice(self.known)
        order, keep = _order(root), self.draw.random() < 0.5
        if not order or not root.parents:
            return
        seed = np.array([1.0, 0.5, -2.0])
        inner = [(x, n) for x, n in self.known if n in order and n.parents]
        retain = self.draw.sample(inner, min(2, len(inner)))
        due = any(n.ended or n.foreign or any(m.version != v for m, v in n.reads) for n in order)
        raw = self.autodiff.inner.from_numpy(seed)
        try:
            found = backward(loss, seed=raw, retain=[x for x, _ in retain], keep_tape=keep)
        except TapeError as error:
            if not due:
                raise AssertionError("a false error") from error
            self.outcome = "refused"
            return
        assert not due, "a walk that the rules refuse"
        host, extent = self.autodiff.to_numpy, self.autodiff.innermost.extent
        expected = _gradients(order, seed)
        if importlib.util.find_spec("torch"):
            _check_against_pytorch(order, seed, expected)
        for x, node in retain:
            np.testing.assert_allclose(host(found[x]), expected[node], rtol=1e-9, atol=1e-12)
        for memory in self.memories:
            parts = [expected[n] for n in memory.past if n in expected]
            assert (memory.tensor in found) == bool(parts)
            if parts:
                np.testing.assert_allclose(host(found[memory.tensor]), sum(parts), 1e-9, 1e-12)
        places = sorted(place for each in (raw, *found.values()) if (place := extent(each)))
        assert all(before[1] <= after[0] for before, after in pairwise(places))
        for node in order:
            node.ended = bool(node.parents) and (node.ended or not keep)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_program_is_right_or_refused(seed: int, autodiff: Autodiff[Backend]) -> None:
    outcomes = []
    for number in range(PROGRAMS):
        program = Program(autodiff, seed * PROGRAMS + number)
        program.run()
        outcomes.append(program.outcome)
        del program
    gc.collect()
    assert len(autodiff.tape) == 0
    assert 0 < outcomes.count("refused") < PROGRAMS
