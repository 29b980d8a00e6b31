"""The caller's own metadata: JSON types, and nothing that JSON would change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from born.errors import CheckpointError

_DEEPEST: Final = 100
"""Levels of nesting. Readers recurse, and may themselves be called from deep down."""


def as_json(metadata: Mapping[str, Any], word: str = "metadata") -> dict[str, Any]:
    """What JSON gives back of it; `CheckpointError`, which calls it `word`, if there is no such."""
    if not isinstance(cast("object", metadata), Mapping):
        raise CheckpointError(
            f"expected {word} as a mapping of JSON types, got {type(metadata).__name__}; "
            "pass a dict"
        )
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except RecursionError as error:
        raise _too_deep() from error
    except (TypeError, ValueError) as error:
        if "Out of range float" in str(error):
            raise CheckpointError(
                f"expected finite numbers in {word}, got infinity or NaN, which JSON does not "
                f"have: {error}; save it as a string, str(value), or as None"
            ) from error
        raise CheckpointError(
            f"expected {word} of JSON types (dict, list, str, int, float, bool, None), got "
            f"something else: {error}; convert arrays with .tolist(), NumPy numbers with "
            ".item() and the rest to strings"
        ) from error
    for place in _other_keys(metadata, word, _DEEPEST):
        raise CheckpointError(
            f"expected strings as the keys of {word}, got {place}, which JSON would turn "
            "into a string; use str(key)"
        )
    return copied


def _other_keys(value: object, place: str, levels: int) -> Iterator[str]:
    """Where keys lie that are not strings."""
    items: Iterable[tuple[object, object]]
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        yield from (f"{place}[{key!r}]" for key, _ in items if not isinstance(key, str))
    elif isinstance(value, list | tuple):
        items = enumerate(cast("list[object] | tuple[object, ...]", value))
    else:
        return
    if levels == 0:
        raise _too_deep()
    for key, item in items:
        yield from _other_keys(item, f"{place}[{key!r}]", levels - 1)


def _too_deep() -> CheckpointError:
    return CheckpointError(
        "expected metadata of JSON types, got one nested too deeply, or in a circle; flatten it "
        f"to {_DEEPEST} levels"
    )
