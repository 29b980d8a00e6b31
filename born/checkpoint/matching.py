"""Names in a file and names here: what becomes of a name, and which of two lists are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

from born.errors import OperandError


class Renaming:
    """What is called how here.

    >>> renaming = Renaming({"fc.weight": "head.weight"})
    >>> renaming("fc.weight"), renaming("fc.bias")
    ('head.weight', 'fc.bias')
    >>> renaming.mismatches(["fc.bias"])
    ["rename: 'fc.weight': expected a name in the file, got none like it"]
    """

    def __init__(self, rename: Mapping[str, str] | Callable[[str], str] | None) -> None:
        given: object = {} if rename is None else rename
        if isinstance(given, Mapping):
            pairs = cast("Mapping[object, object]", given)
            if all(isinstance(name, str) for pair in pairs.items() for name in pair):
                self._names: Mapping[str, str] = cast("Mapping[str, str]", given)
                self._function: Callable[[str], object] = lambda name: self._names.get(name, name)
                return
        elif callable(given):
            self._names = {}
            self._function = cast("Callable[[str], object]", given)
            return
        raise OperandError(
            f"expected rename as a dict of strings, or a function of a string, got {given!r}; "
            "write rename={old: new}, old being the name in the file"
        )

    def __call__(self, name: str) -> str:
        """What a name in the file is called here."""
        renamed = self._function(name)
        if not isinstance(renamed, str):
            raise OperandError(
                f"expected rename to return a string for {name!r}, got {renamed!r}; return the "
                "name itself where it stays"
            )
        return renamed

    def mismatches(self, names: Collection[str]) -> list[str]:
        """Names to be replaced that are not among those of the file."""
        return [
            f"rename: {name!r}: expected a name in the file, got none like it"
            for name in self._names
            if name not in names
        ]


def labels(names: Sequence[str]) -> list[str]:
    """A name for each, different from the others: those that occur twice are numbered.

    >>> labels(["weight", "bias", "weight", ""])
    ['weight#0', 'bias', 'weight#1', '#0']
    """
    counts, seen = Counter(names), Counter[str]()
    numbered: list[str] = []
    for name in names:
        single = name and counts[name] == 1
        numbered.append(name if single else f"{name}#{seen[name]}")
        seen[name] += 1
    return numbered


def paired(here: Sequence[str], there: Sequence[str]) -> dict[int, int]:
    """The index of each name here -> its index there; a name that is empty has only its place.

    >>> paired(["bias", "weight"], ["weight", "bias"])
    {0: 1, 1: 0}
    >>> paired(["weight", "bias"], ["", ""])
    {0: 0, 1: 1}
    """
    places = {label: index for index, label in enumerate(labels(there)) if there[index]}
    pairs = {
        index: places[label]
        for index, label in enumerate(labels(here))
        if here[index] and label in places
    }
    used = set(pairs.values())
    for index in range(min(len(here), len(there))):
        nameless = not here[index] or not there[index]
        if nameless and index not in pairs and index not in used:
            pairs[index] = index
    return dict(sorted(pairs.items()))
