"""What arguments are checked with: what each check takes, and the error it gives for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from born import validation
from born.errors import BornError, ConfigError, ConfigTypeError, ShapeError
from born.validation import choice, flag, integer, number, pair, shape, takes

TAKEN: list[tuple[object, object]] = [
    (integer("n", np.int64(2)), 2),
    (integer("n", 0, least=0), 0),
    (integer("n", -5, least=None), -5),
    (number("p", 1), 1.0),
    (number("p", np.float32(0.5), 0, 1), 0.5),
    (flag("bias", True), True),
    (pair("stride", 2), (2, 2)),
    (pair("stride", [1, np.int64(2)]), (1, 2)),
    (shape("lengths", 3), (3,)),
    (shape("lengths", [3, 4]), (3, 4)),
    (choice("fan", "b", ("a", "b")), "b"),
]


@pytest.mark.parametrize(("result", "expected"), TAKEN)
def test_values_are_taken_as_python_has_them(result: object, expected: object) -> None:
    assert result == expected
    assert type(result) is type(expected)


REFUSED: list[tuple[Callable[..., object], tuple[Any, ...], bool, str]] = [
    (integer, ("n", 0), False, "expected n of at least 1, got 0; pass for example n=1"),
    (integer, ("n", -1, 0), False, "expected n of at least 0, got -1; pass for example n=1"),
    (integer, ("n", 2.0), True, "expected n as an integer, got 2.0 of type float; convert it"),
    (integer, ("n", True), True, "expected n as an integer, got True of type bool"),
    (integer, ("A.n", "2"), True, "A.n: expected an integer, got '2' of type str"),
    (number, ("p", 2, 0, 1), False, "expected p as a finite number from 0 to 1, got 2.0; choose"),
    (number, ("p", math.nan), False, "expected p as a finite number, got nan"),
    (number, ("A.p", 10**400), False, "A.p: expected a finite number, got inf"),
    (number, ("p", True), True, "expected p as a number, got True of type bool; convert it"),
    (number, ("A.p", "x"), True, "A.p: expected a number, got 'x' of type str"),
    (flag, ("bias", 1), True, "expected bias as True or False, got 1 of type int; check the order"),
    (pair, ("stride", 0), False, "expected stride of at least 1, got 0"),
    (pair, ("stride", (1, 0)), False, "expected stride of at least 1, got 0"),
    (pair, ("stride", (1,)), False, "one integer or two (height, width), got 1: (1,); pass one"),
    (pair, ("stride", "12"), True, "expected stride as an integer, got '12'"),
    (shape, ("lengths", ()), False, "expected lengths with at least one axis, got (); pass"),
    (shape, ("lengths", (2, 0)), False, "expected lengths of at least 1, got 0"),
    (choice, ("fan", "c", ("a", "b")), False, 'expected fan="a" or "b", got \'c\'; "a" is the us'),
    (choice, ("r", 1, ("a", "b", "c")), False, 'expected r="a", "b" or "c", got 1; "a" is the us'),
    (choice, ("r", "b", ("a",)), False, 'expected r="a", got \'b\'; "a" is the usual one'),
]


@pytest.mark.parametrize("error", [ConfigError, ShapeError])
@pytest.mark.parametrize(("check", "arguments", "mistyped", "message"), REFUSED)
def test_the_rest_is_refused_with_the_error_asked_for(
    check: Callable[..., object],
    arguments: tuple[Any, ...],
    mistyped: bool,
    message: str,
    error: type[BornError],
) -> None:
    with pytest.raises(error) as caught:
        check(*arguments, error=error)
    assert message in str(caught.value)
    refined = ConfigTypeError if mistyped and error is ConfigError else error
    assert type(caught.value) is refined


def test_a_function_says_how_many_arguments_it_takes() -> None:
    def of_one_or_two(x: int, y: int = 0) -> int:
        return x + y

    assert takes(of_one_or_two, 1)
    assert takes(of_one_or_two, 2)
    assert not takes(of_one_or_two, 3)
    assert takes(getattr, 5)  # of C: nobody knows


def test_every_check_is_tested() -> None:
    checks = {
        name
        for name, value in vars(validation).items()
        if callable(value) and value.__module__ == validation.__name__ and name[0] != "_"
    }
    others = {"mismatch_text", "type_error", "takes"}  # which refuse nothing themselves
    assert checks - others == {check.__name__ for check, *_ in REFUSED}
