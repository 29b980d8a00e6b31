"""The CUDA C of every kernel, as text: nothing here needs CuPy, a driver or a device."""

from born_cupy.kernels.source import Source as Source
from born_cupy.kernels.source import ctype as ctype
