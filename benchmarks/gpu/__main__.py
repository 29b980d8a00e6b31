"""The order of the pieces, the time that each may take, and the table at the end.

`benchmarks/gpu.sh` starts it with a Python that has all it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu import figures
from benchmarks.gpu.figures import Figure
from benchmarks.gpu.pieces import PIECES
from benchmarks.gpu.reporting import REPORT

ROOT: Final = Path(__file__).parents[2]

SECONDS: Final[Mapping[str, float]] = {
    "device": 30,
    "smoke": 45,
    "optimizers": 100,
    "rules": 120,
    "networks": 120,
    "host": 50,
}
"""The most that each piece may take; the tests have what is left."""

_REHEARSING: Final = 4
"""How many times as long a rehearsal may take, which may share its processor."""

TESTS: Final = "tests"

# Bits of updates and values and gradients of every operation first; then what crosses a border.
_TEST_FILES: Final = (
    "tests/fusion/test_update.py",
    "tests/fusion/test_stages.py",
    "tests/fusion/test_codecs.py",
    "tests/optim/test_bits.py",
    "tests/optim/test_fused.py",
    "tests/operations/test_values.py",
    "tests/operations/test_derivatives.py",
    "tests/test_dlpack.py",
    "tests/data",
    "tests/checkpoint",
    "tests/optim",
    "tests/operations",
    "tests/nn",
    "tests/autodiff",
    "tests/backend",
    "tests/fusion",
)
_REHEARSED: Final = ("tests/fusion/test_update.py",)

_GRACE: Final = 10.0  # seconds from being asked to stop until being stopped
_LINES: Final = 60  # of the table at the end
_EXCERPT: Final = 3  # lines of a failure


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a piece ended.

    Attributes:
        piece: its name.
        status: the exit status; None where its time was up.
        seconds: how long it took.
        figures: what it found.
        failures: the last lines of an error, or the first of each failed test.
        note: what else to say.
    """

    piece: str
    status: int | None
    seconds: float
    figures: Sequence[Figure]
    failures: Sequence[str]
    note: str = ""

    @property
    def sound(self) -> bool:
        """Whether it ran to its end, and no target was missed."""
        return self.status == 0 and all(figure.met is not False for figure in self.figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pieces one after the other; returns 0 only if all is met."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it (default: 8)")
    parser.add_argument("--out", type=Path, required=True, help="where outputs and figures go")
    parser.add_argument("--rehearse", action="store_true", help="on the simulator, tiny")
    parser.add_argument("--only", nargs="*", default=[*PIECES, TESTS], help="which pieces")
    options = parser.parse_args(arguments)
    out: Path = options.out.resolve()
    rehearse: bool = options.rehearse
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    outcomes: list[Outcome] = []
    for piece in options.only:
        left = end - time.monotonic() - _GRACE
        if left <= 0:
            outcomes.append(Outcome(piece, None, 0.0, [], [], "no time was left for it"))
        elif piece == TESTS:
            outcomes.append(_tests(out, left, rehearse))
        else:
            most = SECONDS[piece] * (_REHEARSING if rehearse else 1)
            outcomes.append(_piece(piece, out, min(most, left), rehearse))
    summary = _summary(outcomes)
    print("\n".join(["", *summary]))
    (out / "table.txt").write_text("\n".join(summary) + "\n", encoding="utf-8")
    document = [asdict(outcome) for outcome in outcomes]
    (out / "figures.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if all(outcome.sound for outcome in outcomes) else 1


def _piece(piece: str, out: Path, seconds: float, rehearse: bool) -> Outcome:
    path = out / f"{piece}.jsonl"
    path.unlink(missing_ok=True)
    status, took, said = _run(piece, piece_command(piece, out, rehearse), out, seconds)
    failures = [] if status == 0 else said[-6:]
    return Outcome(piece, status, took, figures.read(path), failures)


def piece_command(piece: str, out: Path, rehearse: bool) -> list[str]:
    """What runs a piece."""
    command = [sys.executable, "-m", "benchmarks.gpu.pieces", piece, str(out)]
    return [*command, "--rehearse"] if rehearse else command


def _tests(out: Path, seconds: float, rehearse: bool) -> Outcome:
    report = out / "failures.jsonl"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--backend", "cupy", "-k", "cupy"]
    command += [
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:benchmark",
        "-p",
        "benchmarks.gpu.reporting",
    ]
    command += ["--simulator", *_REHEARSED] if rehearse else ["-n", "12", *_TEST_FILES]
    status, took, _ = _run(TESTS, command, out, seconds, {REPORT: str(report)})
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    entries: list[dict[str, Any]] = [json.loads(each) for each in lines]
    counts: dict[str, int] = entries[-1]["counts"] if entries else {}
    failed = [
        "\n".join([each["test"], *_excerpt(each["text"])]) for each in entries if "test" in each
    ]
    note = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return Outcome(TESTS, status, took, [], failed, note or "no test ran")


def _excerpt(text: str) -> list[str]:
    """What pytest marks as the error, where it marks any."""
    lines = text.splitlines()
    marked = [line for line in lines if line.startswith("E ")]
    return [f"    {line[:150]}" for line in (marked or lines[-_EXCERPT:])[:_EXCERPT]]


def _run(
    name: str,
    command: Sequence[str],
    out: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> tuple[int | None, float, list[str]]:
    """Run a command for so long at most, showing and keeping what it says.

    Returns:
        the exit status, or None where the time was up; seconds; the lines it said.
    """
    print(f"\n=== {name}, at most {seconds:.0f} s ===", flush=True)
    start = time.monotonic()
    path = out / f"{name}.txt"
    # Through tee, so that what it says is seen as it comes and kept if it is stopped.
    with subprocess.Popen(["tee", str(path)], stdin=subprocess.PIPE, start_new_session=True) as tee:
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=tee.stdin,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            status = _wait(process, seconds)
        assert tee.stdin is not None
        tee.stdin.close()
    took = time.monotonic() - start
    print(f"=== {name}: {'stopped' if status is None else status}, {took:.1f} s ===", flush=True)
    return status, took, path.read_text(encoding="utf-8", errors="replace").splitlines()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status; None where a process had to be stopped, with all that it started."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, sign)
            seconds = _GRACE
        else:
            return status if sign is signal.SIGINT else None
    process.wait()
    return None


def _summary(outcomes: Sequence[Outcome]) -> list[str]:
    lines: list[str] = []
    for outcome in outcomes:
        ended = "ran out of time" if outcome.status is None else f"ended with {outcome.status}"
        lines.append(
            f"{outcome.piece}: {ended} after {outcome.seconds:.0f} s. {outcome.note}".rstrip()
        )
    failures = [
        line
        for outcome in outcomes
        for text in outcome.failures
        for line in (outcome.piece + ": " + text).splitlines()
    ]
    room = _LINES - len(lines) - 2
    found = [figure for outcome in outcomes for figure in outcome.figures]
    shown = figures.table(found, max(room - min(len(failures), room // 2), 1))
    left = _LINES - len(lines) - len(shown) - 1
    if len(failures) > left:
        failures = [*failures[: left - 1], f"... {len(failures) - left + 1} more lines in the JSON"]
    return [*lines, *shown, *failures]


if __name__ == "__main__":
    raise SystemExit(main())
