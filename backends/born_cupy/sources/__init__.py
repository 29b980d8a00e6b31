"""The CUDA C of every kernel, as text: nothing here needs CuPy, a driver or a device."""

from born_cupy.sources.source import Source as Source
from born_cupy.sources.source import ctype as ctype
