"""The Numba backend: NumPy, with compiled loops where they are faster.

Numba itself is imported when a `NumbaBackend` is made, not when this package is.
"""

from born_numba.backend import NumbaBackend as NumbaBackend
