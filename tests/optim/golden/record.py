"""Record the trajectories of all references, for tests that run where they are not installed.

Run `python -m tests.optim.golden.record`, with the extra `golden` installed, after changing
`cases.py`; what is recorded already stays as it is, unless `--again` is given.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import numpy as np

from tests.optim.golden.cases import CASES
from tests.optim.golden.libraries import record
from tests.optim.golden.recordings import FOLDER, LIBRARIES, recorded


def main(arguments: list[str]) -> None:
    """Write a file for each library."""
    for library, packages in LIBRARIES.items():
        cases = {case.key: case for case in CASES if case.library == library}
        known = {} if "--again" in arguments else recorded(library)
        rows = {key: known[key] if key in known else record(case) for key, case in cases.items()}
        if rows:
            rows["versions"] = np.array([f"{name} {version(name)}" for name in packages])
            np.savez_compressed(FOLDER / f"{library}.npz", allow_pickle=False, **rows)


if __name__ == "__main__":
    main(sys.argv[1:])
