"""The contract between born and the arrays it computes with.

`Backend` is the contract, `ArrayBackend` meets it for any NumPy-like namespace,
and `get_backend` finds the backends that are installed.
"""

from born.backend.array_fused import ArrayBackend as ArrayBackend
from born.backend.composed import Approximation as Approximation
from born.backend.fused import Backend as Backend
from born.backend.fused import Reduction as Reduction
from born.backend.protocol import OPERATIONS as OPERATIONS
from born.backend.protocol import Axis as Axis
from born.backend.protocol import Index as Index
from born.backend.protocol import Operand as Operand
from born.backend.protocol import RandomState as RandomState
from born.backend.protocol import Scalar as Scalar
from born.backend.registry import Availability as Availability
from born.backend.registry import available_backends as available_backends
from born.backend.registry import get_backend as get_backend
