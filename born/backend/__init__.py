"""The contract between born and the arrays it computes with.

`ArrayBackend` meets it for any NumPy-like namespace, `get_backend` finds installed backends.
"""

from born.backend.arguments import Axis as Axis
from born.backend.arguments import Index as Index
from born.backend.arguments import Operand as Operand
from born.backend.arguments import Scalar as Scalar
from born.backend.arrays.backend import ArrayBackend as ArrayBackend
from born.backend.backend import B as B
from born.backend.backend import Backend as Backend
from born.backend.contract.base import RandomState as RandomState
from born.backend.contract.elementwise import Approximation as Approximation
from born.backend.contract.network import CellName as CellName
from born.backend.contract.network import Reduction as Reduction
from born.backend.contract.operation import OPERATIONS as OPERATIONS
from born.backend.registry import Availability as Availability
from born.backend.registry import available_backends as available_backends
from born.backend.registry import get_backend as get_backend
from born.backend.window import Window as Window
