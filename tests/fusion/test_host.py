"""What rules compute of scalars: of many rows at once, with the bits of each alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from born.fusion import exp, maximum, sqrt, trace, where
from born.fusion.host import HostRows


def adam(p: Any, g: Any, m: Any, *, lr: Any, beta: Any, eps: Any, decay: Any, t: Any) -> Any:
    m = beta * m + (1 - beta) * g
    step = lr / (1 - beta**t) * where(t > 3, exp(-decay * t), maximum(decay, 0.5))
    return p - step * m / sqrt(eps + t) - lr * decay * p, m


HOST = trace(adam, ["m"], ["lr", "beta", "eps", "decay", "t"]).host
NAMES: tuple[str, ...] = "lr", "beta", "eps", "decay"


def rows_of(kind: str) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    rows = [dict(zip(NAMES, rng.uniform(0.01, 0.99, 4).tolist(), strict=True)) for _ in range(7)]
    if kind == "one":
        return rows[:1]
    if kind == "shared":
        return [{**rows[0], "lr": row["lr"]} for row in rows]
    if kind == "zeros":  # equal, but of another sign or type
        return [{**rows[0], "decay": x} for x in (0.0, -0.0, 0, 0.0)]
    return rows


@pytest.mark.parametrize("own", [(), ("lr",), ("lr", "decay"), NAMES])
@pytest.mark.parametrize("kind", ["one", "shared", "zeros", "all"])
def test_rows_have_the_bits_of_each_alone(kind: str, own: tuple[str, ...]) -> None:
    full = rows_of(kind)
    fixed = [{name: x for name, x in row.items() if name not in own} for row in full]
    rows = HostRows(HOST, fixed, own)
    names = [name for name in HOST.arguments if name in own]
    for t in (1, 3, 4, 1000):
        for chosen in (None, [len(full) - 1], [0, len(full) - 1]):
            some = full if chosen is None else [full[row] for row in chosen]
            given = [tuple(row[name] for name in names) for row in some] if own else ()
            expected = [HOST(**row, t=t) for row in some]
            assert repr(rows({"t": t}, given, chosen)) == repr(expected)


def test_what_no_row_changes_is_computed_once() -> None:
    source = HostRows(HOST, rows_of("shared")).source
    before, loop = source.split("for ")
    assert "beta ** t" in before
    assert "__exp" in before
    assert "lr" in loop
    assert "beta" not in loop


def test_what_no_update_changes_is_not_computed_again() -> None:
    source = HostRows(HOST, rows_of("one")).source
    assert "- beta" not in source
    assert "beta ** t" in source
