#!/usr/bin/env bash
# All there is to see on a machine with an NVIDIA GPU, within minutes: a smoke test, figures beside
# PyTorch's on the same device, and the tests. Each piece is bounded in time, and its output is kept.
#
#   bash benchmarks/gpu.sh [--minutes N] [--out FOLDER] [--only PIECE ...]
#   bash benchmarks/gpu.sh --rehearse [--out FOLDER]     the same at tiny sizes, without a GPU
#
# Where a package index answers, it runs in a fresh virtual environment; else in the Python that is
# there, which then needs CuPy, PyTorch, pytest and the rest already. PYTHON names another one.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
exec </dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export BORN_CACHE_DIR=$work/born PYTHONPYCACHEPREFIX=$work/pycache MPLBACKEND=agg PYTHONUNBUFFERED=1
python=${PYTHON:-$(command -v python3 || command -v python)}

case " $* " in
*" --rehearse "*)
    results=benchmarks/results/rehearsal
    ;;
*)
    if ! gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader --id=0); then
        echo "no NVIDIA GPU answers: expected nvidia-smi to name one; install the driver" >&2
        exit 2
    fi
    results=benchmarks/results/$(tr '[:upper:] ' '[:lower:]-' <<<"$gpu")
    cuda=$(nvidia-smi | sed -n 's/.*CUDA[^:]*Version: \([0-9]*\).*/\1/p')
    if timeout 5 "$python" -m pip download --quiet --no-deps --retries 0 --dest "$work" \
        typing-extensions >/dev/null 2>&1; then
        "$python" -m venv "$work/venv"
        "$work/venv/bin/pip" install --quiet -e ".[cuda${cuda:-12},numba,benchmarks,test]" \
            pytest-xdist || exit
        python=$work/venv/bin/python
    else
        echo "no package index answers: using $("$python" --version) as it is"
        # In place of installing born: its sources, and the entry points that an installation writes.
        export PYTHONPATH=$PWD:$PWD/backends:$work/site
        "$python" benchmarks/gpu/installed.py "$work/site" || exit
    fi
    ;;
esac

"$python" -m benchmarks.gpu --out "$results" "$@"
