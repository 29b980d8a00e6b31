"""The door of the NumPy backend: its class, since NumPy is always there."""

from born_numpy.backend import NumpyBackend as NumpyBackend
