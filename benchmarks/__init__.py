"""How long born takes, beside other libraries doing the same work: `python -m benchmarks`.

`__main__.py` lists what can be timed. `clocks.py` and `harness.py` time it, `libraries.py` says who
takes part, on a CPU or on a GPU, `report.py` and `figure.py` show what was found, `machine.py` says
where. Every other module holds one kind of work, or what works share. What the figures mean is in
`docs/results.md`; `gpu.sh` does on a GPU machine all that there is to do.
"""
