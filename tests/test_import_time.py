"""`import born` loads what training needs and nothing else.

A test of the time itself would test the machine. What costs time is loading other packages, so
that is what is checked; the time is seen with `python -X importtime -c "import born"`.
"""

from __future__ import annotations

import sys

from tests.tools import output_of

PRINT_LOADED = """
import sys
import numpy
before = set(sys.modules)
import born
print(*sorted(set(sys.modules) - before))
"""

# What born needs at once; what it needs only to save or to find a backend can wait.
ALLOWED = {"born", "numpy", "typing_extensions"}

# Parts of the standard library that cost milliseconds and that a program may never need.
SLOW_TO_LOAD = {
    "asyncio",
    "concurrent.futures",
    "email",
    "http",
    "importlib.metadata",
    "logging",
    "multiprocessing",
    "pathlib",
    "unittest",
    "urllib.parse",
    "zipfile",
}


def _loaded() -> set[str]:
    return set(output_of([sys.executable, "-c", PRINT_LOADED]).split())


def test_import_born_loads_no_package_but_its_own() -> None:
    packages = {name.split(".")[0] for name in _loaded()}
    assert "born" in packages
    assert packages - set(sys.stdlib_module_names) - ALLOWED == set()


def test_import_born_loads_no_slow_part_of_the_standard_library() -> None:
    assert _loaded() & SLOW_TO_LOAD == set()
