"""The benchmark of checkpoints measures everyone, and notices who loads something else."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import checkpoint


def test_everyone_saves_and_loads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_peaks(*_: Any) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(checkpoint, "_peaks", no_peaks)
    figures = checkpoint.run(size=1 << 16, rounds=1)
    printed = capsys.readouterr().out
    for name in (checkpoint.OURS, checkpoint.YARDSTICK, "safetensors"):
        assert figures["competitors"][name]["load"]["seconds"] > 0
        assert printed.count(f"\n{name} ") == 2
