"""The NumPy backend: born on the CPU, with nothing but NumPy."""

from born_numpy.backend import NumpyBackend as NumpyBackend
