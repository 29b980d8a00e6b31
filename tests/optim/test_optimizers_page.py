"""The table of optimizers says what their configs and rules are."""

from __future__ import annotations

from born.optim.naming import OPTIMIZERS
from tests.optim.optimizers_page import PAGE, USES, text


def test_table_is_what_the_optimizers_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == text(page), "run python -m tests.optim.optimizers_page"


def test_every_optimizer_has_a_use() -> None:
    assert list(USES) == list(OPTIMIZERS)
