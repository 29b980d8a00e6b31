"""The page on other systems says what the presets are."""

from __future__ import annotations

from born.optim.naming import OPTIMIZERS
from tests.optim.presets_page import PAGE, TITLES, text


def test_page_is_what_the_presets_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "run python -m tests.optim.presets_page"


def test_every_system_of_a_preset_has_a_title() -> None:
    systems = {system for each in OPTIMIZERS.values() for system in each.config_type.presets}
    assert systems == set(TITLES)
