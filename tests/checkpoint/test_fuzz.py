"""A sample of what `python -m tests.checkpoint.fuzz 100000` runs."""

from __future__ import annotations

from tests.checkpoint.fuzz import fuzz


def test_malformed_files_are_refused_or_mean_nothing() -> None:
    outcomes = fuzz(400, seed=1)
    assert sum(outcomes.values()) > 350
    assert {"damaged: CheckpointCorruptError", "forged: CheckpointCorruptError"} <= set(outcomes)
