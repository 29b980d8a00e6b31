"""`python -m born`: look into checkpoints, and see which backends can be used.

It exits with 0; with 1 if a checkpoint is damaged; with 2 if it was asked for something that is
not there; and as others do when it is interrupted or nobody reads what it prints.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import born
from born.checkpoint.document import SavedOptimizer
from born.checkpoint.loading import opened
from born.checkpoint.parts import label, prefix
from born.checkpoint.reading import File
from born.errors import CheckpointCorruptError, CheckpointError, CheckpointMismatchError

SOUND: Final = 0
DAMAGED: Final = 1
NOT_THERE: Final = 2
ENDED_BY: Final = 128  # and the number of a signal, as shells report it

_LONGEST: Final = 300  # characters of metadata that a person is shown
_INDENT: Final = 11  # columns for "optimizer" and two blanks
_RIGHT: Final = ("bytes",)  # columns of numbers


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns the exit status."""
    given = _parser().parse_args(arguments)
    # A name of a tensor may hold anything, and a terminal may know less.
    output: Any = sys.stdout
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="backslashreplace")
    try:
        status = inspect(given.file, given.json) if given.command == "inspect" else backends(given)
        sys.stdout.flush()
    except BrokenPipeError:  # as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ENDED_BY + getattr(signal, "SIGPIPE", 13)
    except KeyboardInterrupt:
        return ENDED_BY + signal.SIGINT
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m born", description="What born can tell.")
    parser.add_argument("--version", action="version", version=f"born {born.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    look = commands.add_parser(
        "inspect",
        help="show what is in a checkpoint, and whether it is sound",
        description="Show what is in a checkpoint, and check all of it. Exit status: 0 if every "
        "checksum holds, 1 if the file is damaged, 2 if there is none.",
    )
    look.add_argument("file", type=Path, metavar="FILE", help="a file that checkpoint.save wrote")
    which = commands.add_parser(
        "backends",
        help="list the backends, and why one cannot be used",
        description="List the installed backends, and why one cannot be used here.",
    )
    for each in (look, which):
        each.add_argument("--json", action="store_true", help="print JSON, for other programs")
    return parser


# -- backends ----------------------------------------------------------------------------------


def backends(given: argparse.Namespace) -> int:
    """List the backends."""
    found = born.available_backends()
    if given.json:
        listed = {name: {"usable": a.usable, "reason": a.reason} for name, a in found.items()}
        _print_json(listed)
    else:
        _print_pairs([(name, a.reason or "usable") for name, a in found.items()])
    return SOUND


# -- checkpoints -------------------------------------------------------------------------------


def inspect(path: Path, as_json: bool) -> int:
    """Show a checkpoint."""
    try:
        facts = _facts(path)
    except CheckpointError as error:
        text = f"{error}{_files_in(path)}"
        if as_json:
            _print_json({"file": str(path), "sound": False, "error": text})
        sys.stderr.write(f"{_safe(text)}\n")
        return DAMAGED if isinstance(error, CheckpointCorruptError) else NOT_THERE
    if as_json:
        _print_json(facts)
    else:
        _print_facts(facts)
    return SOUND if facts["sound"] else DAMAGED


def _files_in(path: Path) -> str:
    """The checkpoints that whoever named a folder may have meant."""
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    return f"; in this folder, the last by name is {found[-1]}" if found else ""


def _facts(path: Path) -> dict[str, Any]:
    """What there is to know of a checkpoint, in types of JSON."""
    with opened(path) as (file, document):
        damaged = set(file.damaged())
        owners = _owners(file, document.optimizers)
        tensors = [
            {
                "name": name,
                "shape": list(entry.shape),
                "dtype": _dtype(file, name),
                "bytes": entry.size,
                "owner": owners.get(name),
                "sound": name not in damaged,
            }
            for name, entry in sorted(file.entries.items(), key=lambda item: item[1].begin)
        ]
        return {
            "file": str(path),
            "bytes": path.stat().st_size,
            "version": file.version,
            "sound": not damaged,
            "models": dict(document.models),
            "optimizers": {
                name: {"type": each.kind, "config": each.config}
                for name, each in document.optimizers.items()
            },
            "step": document.metadata.get("step"),
            "metadata": document.metadata,
            "data": document.data,
            "random_state": document.random_state,
            "tensors": tensors,
        }


def _owners(file: File, optimizers: Mapping[str, SavedOptimizer]) -> dict[str, str]:
    """The names of the parameters that the optimizers' tensors belong to."""
    owners: dict[str, str] = {}
    for name, each in optimizers.items():
        names = [p.name or f"parameter {index}" for index, p in enumerate(each.parameters)]
        state = {key: index for key, index in each.owners.items() if index is not None}
        owners |= {prefix("optimizer", name) + key: names[index] for key, index in state.items()}
        gradients = {str(index): owner for index, owner in enumerate(names)}
        owners |= {prefix("gradient", name) + key: owner for key, owner in gradients.items()}
    return {name: owner for name, owner in owners.items() if name in file.entries}


def _dtype(file: File, name: str) -> str:
    try:
        return file.stored(name).dtype.name
    except CheckpointMismatchError:  # one that born does not know
        return file.entries[name].code


# -- printing ----------------------------------------------------------------------------------


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _print_facts(facts: Mapping[str, Any]) -> None:
    tensors: list[dict[str, Any]] = facts["tensors"]
    pairs = [("file", f"{facts['file']}, {_size(facts['bytes'])}, format {facts['version']}")]
    pairs += [(label("model", name), kind) for name, kind in facts["models"].items()]
    for name, each in facts["optimizers"].items():
        config = {key: value for key, value in each["config"].items() if key != "type"}
        fields = ", ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        pairs.append((label("optimizer", name), f"{each['type']}({fields})"))
    if facts["step"] is not None:
        pairs.append(("step", json.dumps(facts["step"])))
    pairs += [(name, _shortened(facts[name])) for name in ("metadata", "data") if facts[name]]
    pairs.append(("random", "state saved" if facts["random_state"] else "no state saved"))
    bad = [tensor["name"] for tensor in tensors if not tensor["sound"]]
    count = f"{len(tensors)} tensor{'' if len(tensors) == 1 else 's'}"
    verdict = f"{count}, every checksum holds"
    if bad:
        verdict = f"{len(bad)} of {count} DAMAGED: {', '.join(bad)}"
    _print_pairs(pairs)
    if tensors:
        columns = ("name", "shape", "dtype", "bytes", "of parameter", "checksum")
        rows = [
            (
                tensor["name"],
                str(tuple(tensor["shape"])),
                tensor["dtype"],
                f"{tensor['bytes']:,}",
                tensor["owner"] or "",
                "holds" if tensor["sound"] else "DAMAGED",
            )
            for tensor in tensors
        ]
        _print_table(columns, rows)
    _print_pairs([("checked", verdict)])


def _print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Names, and what there is to say, wrapped to the width of a terminal."""
    width = max(_INDENT, *(len(name) + 2 for name, _ in pairs))
    for name, text in pairs:
        lines = [_safe(text)]
        if sys.stdout.isatty():
            room = max(shutil.get_terminal_size().columns - width, _INDENT)
            lines = textwrap.wrap(lines[0], room, break_on_hyphens=False) or [""]
        for first, line in zip((_safe(name), *[""] * len(lines)), lines, strict=False):
            sys.stdout.write(f"{first:{width}}{line}".rstrip() + "\n")


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: by rich on a terminal, if it is there, and else in columns of blanks."""
    cells = [[_safe(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and _print_rich(columns, cells):
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        padded = [
            f"{cell:>{width}}" if column in _RIGHT else f"{cell:{width}}"
            for column, cell, width in zip(columns, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether rich has printed the table."""
    try:
        console: Any = importlib.import_module("rich.console").Console()
        table: Any = importlib.import_module("rich.table").Table()
        text: Any = importlib.import_module("rich.text").Text
    except ModuleNotFoundError:
        return False
    for column in columns:
        justify = "right" if column in _RIGHT else "left"
        table.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        style = "bold red" if row[-1] == "DAMAGED" else ""
        table.add_row(*(text(cell) for cell in row), style=style)
    console.print(table)
    return True


def _safe(text: str) -> str:
    """What a terminal may be sent: a file's names could hold codes that it obeys."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... (--json shows all)"


def _size(count: int) -> str:
    """A number of bytes, as people read it."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{size:.3g} {unit}"


if __name__ == "__main__":
    sys.exit(main())
