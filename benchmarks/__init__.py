"""How long born takes, beside other libraries doing the same work: `python -m benchmarks`.

`harness.py` times competitors, `report.py` prints and saves what it found, `machine.py` says
where. Every other module holds one kind of work; `__main__.py` lists them. What the figures mean
is in `docs/performance.md`.
"""
