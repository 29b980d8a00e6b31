"""The CuPy backend: born on NVIDIA GPUs.

CuPy itself is imported when a `CupyBackend` is made, not when this package is.
"""

from born_cupy.backend import CupyBackend as CupyBackend
