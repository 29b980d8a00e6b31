"""Print the tests that every step skipped, and why, from the JUnit files of a folder.

`python .ci/never_ran.py FOLDER`. A test of the contract counts as one, whatever its backend.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

BACKEND = re.compile(r"\b(numpy|numba|cupy)\b-?")


def main(folder: Path) -> None:
    """Print them by reason."""
    ran: set[str] = set()
    skipped: dict[str, str] = {}
    for path in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(path).iter("testcase"):
            name, bracket, parameters = case.get("name", "").partition("[")
            test = f"{case.get('classname')}.{name}{bracket}{BACKEND.sub('', parameters)}"
            reason = case.find("skipped")
            if reason is None:
                ran.add(test)
            else:
                skipped[test] = reason.get("message", "")
    never = {test: reason for test, reason in skipped.items() if test not in ran}
    print(f"{len(ran)} tests ran on some step, {len(never)} on none")
    for reason, count in Counter(never.values()).most_common():
        example = next(test for test, why in never.items() if why == reason)
        print(f"{count:6} {reason}: {example}")


main(Path(sys.argv[1]))
