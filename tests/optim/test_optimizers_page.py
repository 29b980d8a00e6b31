"""The table of optimizers says what their configs and rules are."""

from __future__ import annotations

import inspect
import re
from typing import Any

from born import optim
from born.optim import schedules
from born.optim.naming import OPTIMIZERS
from born.optim.solvers.descent import Method
from born.optim.solvers.steps import SquaresMethod
from tests.optim.optimizers_page import PAGE, USES, text


def test_table_is_what_the_optimizers_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == text(page), "run python -m tests.optim.optimizers_page"


def test_every_optimizer_has_a_use() -> None:
    assert list(USES) == list(OPTIMIZERS)


def test_whatever_goes_around_an_update_is_said_when_to_use() -> None:
    """By the tables of the pages: wrappers, projections, solvers, schedules and keywords."""
    pages = {page.stem: page.read_text("utf-8") for page in PAGE.parent.glob("*.md")}
    rows = {
        name: " ".join(line for line in text.splitlines() if line.startswith("| `"))
        for name, text in pages.items()
    }
    wrappers = [
        name
        for name, each in vars(optim).items()
        if inspect.isfunction(each) and next(iter(inspect.signature(each).parameters), "") == "rule"
    ]
    assert len(wrappers) == 15
    missing = [
        name for name in wrappers if not re.search(rf"\boptim\.{name}\b", rows["optimizers"])
    ]
    of_optim: dict[str, Any] = dict(vars(optim))
    signature = inspect.signature(of_optim["Optimizer"].__init__)
    keywords = [
        each.name for each in signature.parameters.values() if each.kind is each.KEYWORD_ONLY
    ]
    missing += [name for name in keywords if f"{name}=" not in rows["optimizers"]]
    kinds: list[tuple[str, Any, dict[str, Any]]] = [
        ("schedules", schedules.Schedule, dict(vars(schedules))),
        ("projections", optim.Projection, of_optim),
        ("solvers", Method, of_optim),
        ("solvers", SquaresMethod, of_optim),
    ]
    for page, base, found in kinds:
        missing += [
            name
            for name, each in found.items()
            if isinstance(each, type)
            and issubclass(each, base)
            and each is not base
            and not re.search(rf"\b{name}\(", rows[page])
        ]
    assert missing == []
