"""README and docs say what is so: programs run, commands are CI's, diffs apply, paths exist."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import born
from tests.tools import ROOT, output_of, python

README: Final = ROOT / "README.md"
HOWTO: Final = sorted((ROOT / "docs" / "howto").glob("*.md"))
PROGRAMS: Final = [
    README,
    *HOWTO,
    ROOT / "docs" / "tutorial.md",
    ROOT / "docs" / "checkpoints.md",
    ROOT / "docs" / "schedules.md",
    ROOT / "docs" / "optimizers.md",
    ROOT / "docs" / "projections.md",
    ROOT / "docs" / "solvers.md",
]
"""What holds programs that run."""
DOCUMENTS: Final = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""What speaks of the tree as it is; the changelog speaks of what it was."""

COMMANDS: Final = [
    'pip install -e ".[examples]" && python examples/digits_mlp.py',
    'pip install -e ".[test]" && pytest -n auto',
]
FOLDERS: Final = ("born", "backends", "tests", "examples", "benchmarks", "docs")
ELSEWHERE: Final = {"born_example/__init__.py", "born_example/entry.py"}
"""Files that the pages on adding something add."""

every_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)
every_program = pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def _existing() -> set[str]:
    """Every file and folder of the checkout, each by every tail of its path."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder, *(ROOT / folder).rglob("*"))]
    parts = [path.relative_to(ROOT).parts for path in (*paths, *ROOT.glob("*.*"))]
    return {"/".join(each[start:]) for each in parts for start in range(len(each))}


def test_run_it_holds_two_commands_each_complete() -> None:
    text = README.read_text(encoding="utf-8")
    section = text.split("\n## Run it\n", 1)[1].split("\n## ", 1)[0]
    assert [block.strip() for block in _blocks(section, "sh")] == COMMANDS
    assert section.count("```") == 2 * len(COMMANDS)


@every_program
def test_python_blocks_run_one_after_another(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    text = path.read_text(encoding="utf-8")
    module = ModuleType(path.stem)
    monkeypatch.setitem(sys.modules, path.stem, module)  # dataclasses look their module up
    for block in _blocks(text, "python"):
        # The lines before it are kept as empty ones, so that a traceback names the page's lines.
        before = text[: text.index(block)].count("\n")
        exec(compile("\n" * before + block, path, "exec"), vars(module))
    printed = capsys.readouterr().out
    assert all(block in printed for block in _blocks(text, "text"))
    assert (tmp_path / "digits.safetensors").is_file() == (path == README)


def test_python_blocks_are_typed(tmp_path: Path) -> None:
    programs = [tmp_path / f"{path.stem.lower()}_page.py" for path in PROGRAMS]
    for path, program in zip(PROGRAMS, programs, strict=True):
        blocks = _blocks(path.read_text(encoding="utf-8"), "python")
        program.write_text("\n\n".join(blocks), encoding="utf-8")
    assert "no issues found" in output_of([sys.executable, "-m", "mypy", "--strict", *programs])


@every_program
def test_diffs_are_of_the_files_as_they_are(path: Path) -> None:
    for block in _blocks(path.read_text(encoding="utf-8"), "diff"):
        for name, hunks in re.findall(r"^\+\+\+ b/(.+)\n((?:(?!---).*\n)+)", block, re.MULTILINE):
            text = (ROOT / name).read_text(encoding="utf-8")
            counts = re.findall(r"^@@ -\d+,(\d+) \+\d+,(\d+) @@", hunks, re.MULTILINE)
            hunked = re.split(r"^@@ .*\n", hunks, flags=re.MULTILINE)[1:]
            for hunk, (old, new) in zip(hunked, counts, strict=True):
                signs = [line[:1] for line in hunk.splitlines()]
                assert (signs.count(" ") + signs.count("-"), len(signs) - signs.count("-")) == (
                    int(old),
                    int(new),
                ), f"{path.name}: the counts above a diff of {name} are others"
                lines = [line for line in hunk.splitlines() if not line.startswith("+")]
                before = "\n".join(line[1:] for line in lines)
                assert before in text, f"{name} has changed: {path.name} shows a diff of\n{before}"


LOOK_UP: Final = """
import importlib, warnings
warnings.simplefilter("ignore")
for name in NAMES:
    first, *rest = name.split(".")
    value = importlib.import_module(first)
    for part in rest:
        first += "." + part
        value = getattr(value, part) if hasattr(value, part) else importlib.import_module(first)
"""


def _rows_of_names() -> list[tuple[str, str]]:
    """What is called so elsewhere, and here."""
    text = (ROOT / "docs" / "howto" / "from_pytorch.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) > 50
    return rows


def test_names_that_newcomers_look_for_are_borns() -> None:
    packages = ["born", "nn", "optim", "ops", "autodiff", "data", "checkpoint", "schedules"]
    for _, here in _rows_of_names():
        for name in re.findall(rf"`((?:{'|'.join(packages)})\.[\w.]+)", here):
            path = name.removeprefix("born.").replace("schedules.", "optim.schedules.")
            attrgetter(path)(born)  # an AttributeError names what is missing


@pytest.mark.parametrize("library", ["torch", "jax", "optax", "equinox", "keras"])
def test_names_that_newcomers_know_are_their_librarys(library: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    columns = " ".join(there for there, _ in _rows_of_names())
    names = re.findall(rf"`({library}\.[\w.]+)`", columns)
    assert names
    python(LOOK_UP.replace("NAMES", repr(names)), KERAS_BACKEND="jax")


@every_document
def test_every_language_of_a_block_is_known(path: Path) -> None:
    fences = re.findall(r"^```(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    # In README a block of any other language would be checked by nothing.
    known = {"sh", "python"} if path == README else {"sh", "python", "text", "diff", "toml"}
    assert set(fences[::2]) <= known
    assert set(fences[1::2]) <= {""}


@every_document
def test_every_path_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
    named = re.findall(r"`((?:[\w.-]+/)+[\w.]*|\w+\.(?:md|py|toml))`", text)
    for block in _blocks(text, "sh"):
        named += re.findall(rf"(?<!\S)((?:{'|'.join(FOLDERS)})/[\w./]+)", block)
    existing = _existing()
    assert {each for each in named if each.rstrip("/") not in existing} <= ELSEWHERE
