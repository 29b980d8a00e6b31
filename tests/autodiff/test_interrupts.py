"""Ctrl-C, wherever it comes, leaves no tape recording.

Python raises KeyboardInterrupt between two bytecodes. Here a trace function raises it, before each
of those that a `with backend.tape` or a `grad` goes through, in born's tape and around it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any, Final

import pytest

from born.autodiff import autodiff as autodiff_module
from born.autodiff import backward, grad
from born.autodiff import exits as exits_module
from born.autodiff import tape as tape_module
from born.autodiff import transforms as transforms_module
from tests.autodiff.leaf import AD, T, leaf

PASSED_BY: Final = ("abandon", "walk", "record", "_forget_gone")
"""What an interrupt in is no edge of anything; the first runs after an interrupt has come."""

MODULES: Final = (autodiff_module, exits_module, tape_module, transforms_module)
FILES: Final = {module.__file__ for module in MODULES} | {__file__}


def interrupted(body: Callable[[], object], at: int) -> bool:
    """Run `body` with an interrupt before its bytecode number `at`, and say whether it had one."""
    passed = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal passed
        if frame.f_code.co_filename not in FILES or frame.f_code.co_name in PASSED_BY:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event in ("call", "opcode"):
            passed += 1
            if passed == at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        body()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return passed >= at


def square(x: T) -> T:
    return (x * x).sum()


def plain(autodiff: AD, x: T) -> None:
    with autodiff.tape:
        (x * x).sum()


def nested(autodiff: AD, x: T) -> None:
    with autodiff.tape:
        with autodiff.tape as tape:
            y = x * x
        assert tape.depth == 1
        y.sum()


def failing(autodiff: AD, x: T) -> None:
    try:
        with autodiff.tape:
            (x * x).sum()
            raise KeyError
    except KeyError:
        assert not autodiff.tape.is_recording
        assert len(autodiff.tape) == 0


def gradient(autodiff: AD, x: T) -> None:
    grad(square)(x)


def recorded_gradient(autodiff: AD, x: T) -> None:
    with autodiff.tape:
        grad(square)(x).sum()


@pytest.mark.parametrize("program", [plain, nested, failing, gradient, recorded_gradient])
def test_no_interrupt_leaves_a_tape_recording(
    program: Callable[[AD, T], None], autodiff: AD
) -> None:
    x, tape = leaf(autodiff, 2.0), autodiff.tape
    at = 1
    while interrupted(lambda: program(autodiff, x), at):
        assert autodiff.tape is tape, at
        assert tape.depth == 0, at
        assert not tape._entered, at  # pyright: ignore[reportPrivateUsage]  # nothing may pile up
        at += 1
    assert at > 100
    # And it still works.
    with autodiff.tape:
        loss = (x * x).sum()
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [4.0]


def test_an_exit_stack_ends_the_recording(autodiff: AD) -> None:
    with ExitStack() as stack:
        assert stack.enter_context(autodiff.tape) is autodiff.tape
        stack.enter_context(autodiff.tape)
        assert autodiff.tape.depth == 2
    assert autodiff.tape.depth == 0


def test_a_suspended_generator_goes_on_recording(autodiff: AD) -> None:
    def steps() -> Any:
        with autodiff.tape:
            yield 1

    running = steps()
    next(running)
    assert autodiff.tape.is_recording
    running.close()
    assert not autodiff.tape.is_recording
