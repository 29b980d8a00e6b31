"""What type checkers tell a user of born.

Each file in `tests/typing` is a small program. A comment says what both checkers must print for
its line, and for every line without one they must print nothing:

    reveal_type(x)  # reveals: Tensor[NumpyBackend]
    wrong(x)  # error: mypy's code, pyright's rule
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import ROOT, run, unavailable

CASES = sorted((ROOT / "tests" / "typing").glob("*.py"))

Reports = dict[tuple[str, int], str]
"""(file, line) -> what a checker prints there."""

MYPY, PYRIGHT = 0, 1


def _expected(checker: int) -> Reports:
    reports: Reports = {}
    for path in CASES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if found := re.search(r"# reveals: (.+)$", line):
                reports[path.name, number] = found[1]
            elif found := re.search(r"# error: (\S+), (\S+)$", line):
                reports[path.name, number] = found[1 + checker]
    return reports


def _collect(reports: Iterator[tuple[Path, int, str]]) -> Reports:
    """Gather what a checker printed; reports of one line are joined, so that none is lost."""
    collected: dict[tuple[str, int], list[str]] = {}
    for path, line, text in reports:
        collected.setdefault((path.name, line), []).append(text)
    return {place: "+".join(sorted(texts)) for place, texts in collected.items()}


def _unqualified(name: str) -> str:
    """`a.b.C[d.E]` as `C[E]`: where a class lives is not what these tests are about."""
    return re.sub(r"(?:\w+\.)+(?=\w)", "", name)


def _mypy() -> Iterator[tuple[Path, int, str]]:
    done = run([sys.executable, "-m", "mypy", "--output", "json", *CASES])
    assert done.returncode in (0, 1), done.stdout + done.stderr
    for row in map(json.loads, done.stdout.splitlines()):
        revealed = re.fullmatch(r'Revealed type is "(.+)"', row["message"])
        text = _unqualified(revealed[1]) if revealed else row["code"]
        yield Path(row["file"]), row["line"], text


def _pyright(config: pytest.Config, work: Path) -> Iterator[tuple[Path, int, str]]:
    if importlib.util.find_spec("pyright") is None:
        unavailable(config, 'pyright is not installed; run: pip install -e ".[dev]"')
    # The project's settings, but for the folders: they leave these cases out, so copy them.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {"include": ["."], "exclude": [], "extraPaths": [str(ROOT), str(ROOT / "backends")]}
    project = settings["tool"]["pyright"] | folders
    for path in CASES:
        shutil.copy(path, work)
    (work / "pyrightconfig.json").write_text(json.dumps(project), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    done = run([*command, "-p", work])
    if done.returncode not in (0, 1):
        unavailable(config, f"pyright cannot start here: {done.stderr.strip()}")
    for row in json.loads(done.stdout)["generalDiagnostics"]:
        revealed = re.fullmatch(r'Type of ".+" is "(.+)"', row["message"])
        text = _unqualified(revealed[1]) if revealed else row.get("rule", row["message"])
        yield Path(row["file"]), row["range"]["start"]["line"] + 1, text


def test_cases_expect_reveals_and_errors() -> None:
    for checker in (MYPY, PYRIGHT):
        expected = _expected(checker).values()
        assert "SGD[Autodiff[NumpyBackend]]" in expected
        assert {"arg-type", "reportArgumentType"} & set(expected)


def test_mypy_reports_what_the_cases_say() -> None:
    assert _collect(_mypy()) == _expected(MYPY)


def test_pyright_reports_what_the_cases_say(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    assert _collect(_pyright(pytestconfig, tmp_path)) == _expected(PYRIGHT)
