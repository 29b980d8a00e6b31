"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import errno
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks import (
    checkpoint,
    digits,
    figure,
    footprint,
    functions,
    libraries,
    machine,
    optimizer_step,
    optimizers,
    report,
    scaling,
    side_by_side,
    training_step,
)
from benchmarks.harness import Result, Settings, Skipped, Work, run
from benchmarks.libraries import Place
from born.errors import BackendUnavailableError

Benchmarks: TypeAlias = dict[str, Callable[[Place], list[Work]]]
"""Name on the command line -> what is timed under it."""

_STEP: Final = "optimizer-step"
_SCALING: Final = "scaling"
_CHECKPOINT: Final = "checkpoint"
_OPTIMIZERS: Final = "optimizers"
_MODELS: Final = "models"

CPU_BENCHMARKS: Final[Benchmarks] = {
    "training-step": training_step.works,
    _STEP: optimizer_step.works,
    "digits": digits.works,
    "functions": functions.works,
    _SCALING: scaling.works,
    _OPTIMIZERS: optimizers.works,
}
GPU_BENCHMARKS: Final[Benchmarks] = {
    "training-step": training_step.works,
    _STEP: optimizer_step.works,
    "host-time": optimizer_step.host_works,
}
SHORTENED: Final = {_SCALING: 3}
"""What has many works, and so takes a part of the rounds and the time unless it is named."""

CPU_SETTINGS: Final = Settings()
GPU_SETTINGS: Final = Settings(pause=0.0, settle=0.05, sample=0.1)
"""A GPU that is left alone clocks down, so there its competitors follow one another."""

RESULTS: Final = Path(__file__).parent / "results"
"""Where the figures go unless told otherwise; git ignores what is called latest."""

UNAVAILABLE: Final = 2
"""The exit status where the backend asked for cannot be used; argparse ends with it as well."""

_EPILOG: Final = f"""\
Competitors take turns within one process, in many short rounds; printed are medians over the
rounds, their quartiles, and ratios taken within each round. A ratio over 1 means born is faster.
A competitor that is not installed is named with the reason; all of them come with
{libraries.INSTALL}. Close other programs first, and see docs/results.md for what the
figures mean.

examples:
  python -m benchmarks                  everything, about a quarter of an hour
  python -m benchmarks --quick          a first look, a few minutes
  python -m benchmarks {_SCALING}          cost against size and number of tensors, in more rounds
  python -m benchmarks {_CHECKPOINT}       saving and loading 1 GB, and the memory it takes
  python -m benchmarks {_MODELS}           whole models, each library in its own process
  python -m benchmarks {_OPTIMIZERS}       every optimizer, beside PyTorch's and the limit
  python -m benchmarks --backend cupy   a GPU, beside PyTorch on the same device
  python -m benchmarks training-step --json benchmarks/results/laptop.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks, print tables, write JSON and a picture; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    backend: str | None = options.backend
    try:
        here = libraries.place(backend)
    except BackendUnavailableError as error:
        print(error, file=sys.stderr)
        return UNAVAILABLE
    if options.names == [_CHECKPOINT]:
        checkpoint.run(options.quick, rounds=options.rounds)
        return 0
    if options.names == [_MODELS]:
        side_by_side.run(options.quick, options.rounds)
        return 0
    benchmarks = CPU_BENCHMARKS if here.cupy is None else GPU_BENCHMARKS
    named: list[str] = list(dict.fromkeys(options.names))
    for name in named:
        if name not in benchmarks:
            parser.error(f"expected one of {', '.join(benchmarks)}, got {name!r}")
    settings = CPU_SETTINGS if here.cupy is None else GPU_SETTINGS
    if options.quick:
        settings = settings.quick()
    if options.rounds is not None:
        settings = replace(settings, rounds=options.rounds)
    words = ["latest", *([backend] if backend else []), *named]
    path: Path = options.json or RESULTS / f"{'-'.join(words)}.json"
    try:  # now, not when all is measured
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        parser.error(f"expected a place to write figures to, got {path}: {error.strerror}")
    chosen = dict.fromkeys(named, settings) or {
        name: settings.shared_by(SHORTENED.get(name, 1))
        for name in benchmarks
        if name != _OPTIMIZERS  # long, and asked for by name
    }
    if _OPTIMIZERS in chosen:
        chosen[_OPTIMIZERS] = optimizers.settings(settings)
    _run(here, chosen, settings, path)
    return 0


def _run(here: Place, chosen: Mapping[str, Settings], settings: Settings, path: Path) -> None:
    benchmarks = CPU_BENCHMARKS if here.cupy is None else GPU_BENCHMARKS
    facts = machine.facts(here.cupy)
    print(machine.described(facts), end="\n\n", flush=True)
    footprints: list[footprint.Footprint | Skipped] = []
    if _OPTIMIZERS in chosen:  # first, so that nothing is there yet of what steps keep
        footprints += footprint.on_host(optimizers.place(here), optimizers.JOBS)
    measured = {
        name: [_announced(work, own) for work in benchmarks[name](here)]
        for name, own in chosen.items()
    }
    results = [result for each in measured.values() for result in each]
    print(report.tables(results))
    if here.cupy is not None and _STEP in chosen:
        footprints += footprint.measured(here)
        print(f"\n{report.footprint_table(footprints)}")
    overview = optimizers.overview(measured.get(_OPTIMIZERS, ()), footprints)
    if overview:
        print(f"\n{optimizers.overview_table(overview)}")
    document = report.document(results, settings, facts, footprints, overview)
    path.write_text(report.dumped(document), encoding="utf-8")
    print(f"\nAll figures: {path}\n{figure.written(document, path.with_suffix('.png'))}")


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
        metavar="NAME",
        help=f"which benchmarks to run: {', '.join(CPU_BENCHMARKS)}; "
        f"on a GPU {', '.join(GPU_BENCHMARKS)} (default: all)",
    )
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="which of born's backends to time (default: all that compute on the CPU)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument(
        "--rounds",
        type=_positive,
        metavar="N",
        help=f"samples of each competitor, at most (default: {CPU_SETTINGS.rounds})",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="PATH",
        help="where to write all figures, and beside them a picture "
        "(default: benchmarks/results/latest.json)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def _announced(work: Work, settings: Settings) -> Result:
    print(f"measuring: {work.name} ...", file=sys.stderr, flush=True)
    return run(work, settings)


if __name__ == "__main__":
    raise SystemExit(main())
