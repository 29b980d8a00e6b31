"""README says what is so: its programs run, its commands are the ones CI runs, its paths exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.tools import ROOT, output_of

README = (ROOT / "README.md").read_text(encoding="utf-8")

COMMANDS = [
    'pip install -e ".[examples]" && python examples/digits_mlp.py',
    'pip install -e ".[test]" && pytest',
]


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def _section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_run_it_holds_two_commands_each_complete() -> None:
    section = _section("Run it")
    assert [block.strip() for block in _blocks(section, "sh")] == COMMANDS
    assert section.count("```") == 2 * len(COMMANDS)


def test_python_blocks_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = _blocks(README, "python")
    assert len(blocks) >= 6
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)  # dataclasses look their module up
    names = vars(module)
    for block in blocks:
        # The lines before it are kept as empty ones, so that a traceback names README's lines.
        before = README[: README.index(block)].count("\n")
        exec(compile("\n" * before + block, ROOT / "README.md", "exec"), names)
    assert (tmp_path / "digits.safetensors").is_file()


def test_python_blocks_are_typed(tmp_path: Path) -> None:
    program = tmp_path / "readme.py"
    program.write_text("\n\n".join(_blocks(README, "python")), encoding="utf-8")
    assert "no issues found" in output_of([sys.executable, "-m", "mypy", "--strict", program])


def test_every_language_of_a_block_is_known() -> None:
    # A block in any other language would be checked by nothing.
    fences = re.findall(r"^```(.*)$", README, re.MULTILINE)
    assert set(fences[::2]) == {"sh", "python"}
    assert set(fences[1::2]) == {""}


def test_every_path_exists() -> None:
    paths = re.findall(r"`((?:[\w.]+/)+[\w.]*|\w+\.(?:md|py|toml))`", README)
    paths += re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(paths) >= 8
    assert [path for path in paths if not (ROOT / path).exists()] == []
