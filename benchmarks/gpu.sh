#!/usr/bin/env bash
# All there is to see on a machine with an NVIDIA GPU: the test suite on it, and the benchmarks
# beside PyTorch on the same device. What they print stays in benchmarks/results/.
#
#   bash benchmarks/gpu.sh [FOLDER]     FOLDER: where to put it instead
#
# Where a package index answers, all of it runs in a fresh virtual environment; else in the Python
# that is there, which then needs CuPy, pytest and the rest already. PYTHON names another one.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
exec </dev/null

if ! gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader --id=0); then
    echo "no NVIDIA GPU answers: expected nvidia-smi to name one; install the driver" >&2
    exit 2
fi
slug=$(tr '[:upper:] ' '[:lower:]-' <<<"$gpu")
results=${1:-benchmarks/results/$slug}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$results"
export BORN_CACHE_DIR=$work/born PYTHONPYCACHEPREFIX=$work/pycache MPLBACKEND=agg PYTHONUNBUFFERED=1

python=${PYTHON:-$(command -v python3 || command -v python)}
cuda=$(nvidia-smi | sed -n 's/.*CUDA[^:]*Version: \([0-9]*\).*/\1/p')
"$python" -m venv "$work/venv"
if "$work/venv/bin/pip" install --quiet --retries 1 -e ".[cuda${cuda:-12},numba,benchmarks,test]"; then
    python=$work/venv/bin/python
else
    echo "no package index: using $("$python" --version) as it is"
    # In place of installing born: its sources, and the entry points that an installation writes.
    export PYTHONPATH=$PWD:$PWD/backends:$work/site
    "$python" - "$work/site/born_optim-0.dist-info" <<'PYTHON' || exit
import sys
import tomllib
from pathlib import Path

import born

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
about = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {born.__version__}"]
(folder / "METADATA").write_text("\n".join(about) + "\n")
points = []
for group, entries in project["entry-points"].items():
    points += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
(folder / "entry_points.txt").write_text("\n".join(points) + "\n")
PYTHON
fi

{ nvidia-smi; "$python" --version; "$python" -m pip list; } >"$results/machine.txt" 2>&1
"$python" -m pytest --backend cupy -q -p no:cacheprovider 2>&1 | tee "$results/pytest.txt"
tests=$?
"$python" -m benchmarks --backend cupy --json "$results/benchmarks.json" 2>&1 |
    tee "$results/benchmarks.txt"
timings=$?
echo "pytest ended with $tests, the benchmarks with $timings; all they said: $results"
exit $((tests ? tests : timings))
