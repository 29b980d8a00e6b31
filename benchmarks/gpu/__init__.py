"""All there is to see on a GPU within minutes: `benchmarks/gpu.sh` runs it piece by piece."""
