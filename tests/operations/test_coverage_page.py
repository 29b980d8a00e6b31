"""The page on coverage says what there is, and every name that is missing has a reason."""

from __future__ import annotations

import re

import pytest

for _name in ("scipy", "autograd"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: the benchmarks extra")

from tests.operations import coverage_page  # noqa: E402  # which compares with them
from tests.operations.coverage_page import OWN_NAMES, PAGE, REASONS, SECTIONS  # noqa: E402  # likewise


def test_page_is_what_the_names_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if coverage_page.versions() not in page:
        pytest.skip(f"the page is for other versions than {coverage_page.versions()}")
    assert page == coverage_page.text(), "run python -m tests.operations.coverage_page"
    assert "NO REASON" not in page


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.module)
def test_all_that_autograd_differentiates_is_there(section: coverage_page.Section) -> None:
    if "autograd" not in section.module:
        pytest.skip("what others have changes with their versions")
    reasons = section.missing()
    assert all(reasons.values()), reasons
    # Of real numbers nothing is missing: complex ones have a reason, the others a name here.
    unnamed = {reason for name, reason in reasons.items() if name not in OWN_NAMES}
    assert unnamed <= {coverage_page.COMPLEX}


def test_every_reason_is_used() -> None:
    missing = {name for section in SECTIONS for name in section.missing()}
    assert set(OWN_NAMES) <= missing
    for pattern in REASONS.values():
        assert any(re.fullmatch(pattern, name) for name in missing - set(OWN_NAMES)), pattern
