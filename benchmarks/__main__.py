"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, optimizer_step, report, training_step
from benchmarks.harness import QUICK, Settings, Work, run

BENCHMARKS: Final[dict[str, Callable[[], list[Work]]]] = {
    "training-step": training_step.works,
    "optimizer-step": optimizer_step.works,
}
"""Name on the command line -> what is timed under it."""

LATEST: Final = Path(__file__).parent / "results" / "latest.json"
"""Where the figures go unless told otherwise; git ignores it."""

_EPILOG: Final = """\
Competitors take turns within one process, in many short rounds; printed are medians over the
rounds, their quartiles, and ratios taken within each round. A ratio over 1 means born is faster.
A competitor that is not installed is named with the reason; PyTorch comes with
pip install -e ".[parity]". Close other programs first, and see docs/performance.md for what the
figures mean.

examples:
  python -m benchmarks                       everything, about a minute
  python -m benchmarks --quick               a first look, a few seconds
  python -m benchmarks training-step --json benchmarks/results/laptop.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks, print a table, write JSON; returns the exit status."""
    options = _parser().parse_args(arguments)
    settings = QUICK if options.quick else Settings()
    if options.rounds is not None:
        settings = replace(settings, rounds=options.rounds)
    facts = machine.facts()
    print(machine.described(facts), end="\n\n", flush=True)
    names: list[str] = options.names or list(BENCHMARKS)
    works = [work for name in dict.fromkeys(names) for work in BENCHMARKS[name]()]
    results = [run(_announced(work), settings) for work in works]
    print(report.table(results))
    path: Path = options.json
    _write(path, report.document(results, settings, facts))
    print(f"\nAll figures: {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time born beside other libraries that do the same work.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        type=_known,
        metavar="NAME",
        help=f"which benchmarks to run: {', '.join(BENCHMARKS)} (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter rounds, for a first look"
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        metavar="N",
        help=f"samples of each competitor (default: {Settings().rounds}; {QUICK.rounds} if quick)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=LATEST,
        metavar="PATH",
        help="where to write all figures (default: benchmarks/results/latest.json)",
    )
    return parser


def _known(name: str) -> str:
    # argparse's own `choices` refuse an empty list of names in some versions of Python 3.11.
    if name not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise argparse.ArgumentTypeError(f"expected one of {known}, got {name!r}")
    return name


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def _announced(work: Work) -> Work:
    print(f"measuring: {work.name} ...", file=sys.stderr, flush=True)
    return work


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
