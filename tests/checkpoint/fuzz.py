"""Malformed checkpoints: `python -m tests.checkpoint.fuzz 100000` makes so many and loads them.

Each is a sound file with one to three changes: bits, bytes, cuts, insertions, exchanged regions,
another length of the header, or entries of the header replaced and sealed again. A file that was
not sealed again must be refused, or load what the sound one does where it was damaged elsewhere.
All others may load, or be refused; either way nothing but a `CheckpointError` may come out, nothing
may have changed if one does, and memory stays within a small multiple of the file's size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from born import checkpoint, optim
from born.errors import CheckpointError
from tests.checkpoint.runs import Run, make_run

HERE: Final = Path(__file__).parent
BASES: Final = sorted(HERE.glob("version_*_*.safetensors"))

ALLOWED: Final = (16, 1 << 20)
"""Bytes allocated: so many times the file, and the buffers that every load has."""

_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 7, 2**70, 0.5, "", "F32", "text", "\ud800"),
    *([], [1], [[]], {}, {"a": {}}, [2**62, 2]),
)


def _flip(draw: random.Random, data: bytearray) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _overwrite(draw: random.Random, data: bytearray) -> None:
    begin = draw.randrange(len(data))
    end = min(len(data), begin + draw.choice((1, 4, 8, 64)))
    data[begin:end] = draw.choice(
        (bytes(end - begin), b"\xff" * (end - begin), draw.randbytes(end - begin))
    )


def _cut(draw: random.Random, data: bytearray) -> None:
    begin = draw.randrange(len(data))
    del data[begin : draw.choice((len(data), begin + 1, begin + draw.randrange(1, 100)))]


def _insert(draw: random.Random, data: bytearray) -> None:
    begin = draw.randrange(len(data) + 1)
    data[begin:begin] = draw.randbytes(draw.choice((1, 8, 100)))


def _exchange(draw: random.Random, data: bytearray) -> None:
    size = draw.choice((1, 4, 8, 32))
    if len(data) <= 2 * size:
        return
    first, second = sorted(draw.sample(range(len(data) - size), 2))
    if second - first < size:
        return
    one, other = bytes(data[first : first + size]), bytes(data[second : second + size])
    data[first : first + size], data[second : second + size] = other, one


def _length(draw: random.Random, data: bytearray) -> None:
    length = draw.choice((0, 1, 2**63, 2**64 - 1, len(data), len(data) - 8, draw.randrange(10**6)))
    data[:8] = length.to_bytes(8, "little")


PLAIN: Final = (_flip, _flip, _overwrite, _cut, _insert, _exchange, _length)


def _replaced(draw: random.Random, value: Any) -> Any:
    """A JSON value with one part replaced, removed or added."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        copy: dict[str, Any] = {**value}
        key = draw.choice(list(copy))
        if draw.random() < 0.15:
            del copy[key]
        elif draw.random() < 0.1:
            added = draw.choice(("", "model.x", "optimizer.m.9", "version"))
            copy[added] = draw.choice(_VALUES)
        else:
            copy[key] = _replaced(draw, copy[key])
        return copy
    if isinstance(value, list) and value and draw.random() < 0.7:
        items: list[Any] = [*value]
        index = draw.randrange(len(items))
        items[index] = _replaced(draw, items[index])
        return items
    return draw.choice(_VALUES)


def forge(draw: random.Random, data: bytes) -> bytes:
    """A file whose header says something else, with a valid digest."""
    length = int.from_bytes(data[:8], "little")
    fields = json.loads(data[8 : 8 + length])
    document: Any = json.loads(fields.pop("__metadata__")["born"])
    if draw.random() < 0.5:
        fields = _replaced(draw, fields)
    else:
        document = _replaced(draw, document)
    if isinstance(document, dict):
        entries: dict[str, Any] = {**document}
        version = entries.pop("version", 2)
        document = {"version": version, **entries, "digest": "0" * 64}
        document = {"version": version, "digest": "0" * 64, **document}
    whole: dict[str, Any] = {"__metadata__": {"born": json.dumps(document)}}
    if isinstance(fields, dict):
        whole |= fields
    header = json.dumps(whole).encode()
    prefix = len(header).to_bytes(8, "little")
    digest = hashlib.sha256(prefix + header).hexdigest().encode()
    return prefix + header.replace(b"0" * 64, digest, 1) + data[8 + length :]


def _uses(run: Run, path: Path) -> Sequence[Callable[[], object]]:
    both: dict[str, Any] = {"model": run.model, "optimizer": run.optimizer}
    load: Callable[..., Any] = checkpoint.load
    load_weights: Callable[..., Any] = checkpoint.load_weights
    return (
        lambda: load(path, **both),
        lambda: load(path, **both, partial=True, convert_dtypes=True),
        lambda: load(path, optimizer=run.optimizer, hyperparameters="current"),
        lambda: load_weights(path, run.model, partial=True),
        lambda: checkpoint.verify(path),
    )


def fuzz(count: int, seed: int = 0) -> Counter[str]:
    """Make and load malformed files; returns how often what came out, or raises AssertionError."""
    draw = random.Random(seed)
    outcomes: Counter[str] = Counter()
    runs = {
        kind: make_run(config)
        for kind, config in (
            ("sgd", optim.SGDConfig(momentum=0.9)),
            ("adam", optim.AdamConfig()),
        )
    }
    sound = [(path.stem.rpartition("_")[2], path.read_bytes()) for path in BASES]
    tracemalloc.start()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for _ in range(count):
            kind, base = draw.choice(sound)
            forged = draw.random() < 0.3
            data = forge(draw, base) if forged else base
            if not forged:
                changed = bytearray(base)
                for _ in range(draw.choice((1, 1, 1, 2, 3))):
                    if changed:
                        draw.choice(PLAIN)(draw, changed) if len(changed) > 8 else changed.clear()
                data = bytes(changed)
            if data == base:
                continue
            path.write_bytes(data)
            _try(draw, runs[kind], path, base, forged, outcomes)
    tracemalloc.stop()
    return outcomes


def _try(
    draw: random.Random, run: Run, path: Path, base: bytes, forged: bool, outcomes: Counter[str]
) -> None:
    use = draw.choice(_uses(run, path))
    before, size = run.everything(), path.stat().st_size
    tracemalloc.reset_peak()
    held = tracemalloc.get_traced_memory()[0]
    raised: BaseException | None = None
    try:
        use()
    except Exception as error:  # that it is a CheckpointError is what is tested
        raised = error
    if raised is not None:
        assert isinstance(raised, CheckpointError), f"{path.read_bytes()!r}: {raised!r}"
        assert run.everything() == before, f"{path.read_bytes()!r}: state was changed"
        outcomes[f"{'forged' if forged else 'damaged'}: {type(raised).__name__}"] += 1
    else:
        loaded = run.everything()
        if not forged:  # the damage was elsewhere: a sound file loads the same
            damaged = path.read_bytes()
            path.write_bytes(base)
            use()
            assert run.everything() == loaded, f"{damaged!r}: wrong data"
        outcomes[f"{'forged' if forged else 'damaged elsewhere'}: loaded"] += 1
    peak = tracemalloc.get_traced_memory()[1] - held
    assert peak < ALLOWED[0] * size + ALLOWED[1], f"{peak} bytes for a file of {size}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    for outcome, times in sorted(fuzz(options.count, options.seed).items()):
        print(f"{times:8}  {outcome}")  # noqa: T201  # a command
    print(f"{time.perf_counter() - start:.0f} s")  # noqa: T201  # likewise
