"""A plugin for pytest that writes each failure to a file as it comes (`-p`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import pytest

REPORT: Final = "BORN_FAILURES"
"""The variable of the environment that names the file."""

_counts: dict[str, int] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count outcomes where results come together, and write down what failed."""
    path = os.environ.get(REPORT)
    if path is None or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.when != "call" and report.outcome == "passed":
        return
    _counts[report.outcome] = _counts.get(report.outcome, 0) + 1
    entry: dict[str, object] = {"counts": _counts}
    if report.failed:
        entry |= {"test": report.nodeid, "text": report.longreprtext[-4000:]}
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
