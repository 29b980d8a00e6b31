"""The maths that update rules are written in.

>>> from born.fusion import sqrt
>>> def scaled(p, g, v, *, lr, t):
...     v = v + g * g
...     return p - lr * g / sqrt(v), v
>>> scaled(1.0, 2.0, 0.0, lr=0.5, t=1)
(0.5, 4.0)
"""

from born.fusion.derivative import Derivative as Derivative
from born.fusion.derivative import derivative as derivative
from born.fusion.expression import V as V
from born.fusion.expression import Value as Value
from born.fusion.expression import abs as abs
from born.fusion.expression import cast as cast
from born.fusion.expression import exp as exp
from born.fusion.expression import isfinite as isfinite
from born.fusion.expression import log as log
from born.fusion.expression import maximum as maximum
from born.fusion.expression import minimum as minimum
from born.fusion.expression import sign as sign
from born.fusion.expression import sqrt as sqrt
from born.fusion.expression import where as where
from born.fusion.formula import CONSTANT as CONSTANT
from born.fusion.formula import Formula as Formula
from born.fusion.formula import trace_formula as trace_formula
from born.fusion.functions import clip as clip
from born.fusion.functions import cos as cos
from born.fusion.functions import erf as erf
from born.fusion.functions import expm1 as expm1
from born.fusion.functions import gelu as gelu
from born.fusion.functions import gelu_tanh as gelu_tanh
from born.fusion.functions import log1p as log1p
from born.fusion.functions import relu as relu
from born.fusion.functions import sigmoid as sigmoid
from born.fusion.functions import silu as silu
from born.fusion.functions import sin as sin
from born.fusion.functions import softplus as softplus
from born.fusion.functions import tanh as tanh
from born.fusion.program import ARRAY as ARRAY
from born.fusion.program import BOOLEAN as BOOLEAN
from born.fusion.program import RESULT as RESULT
from born.fusion.program import SCALAR as SCALAR
from born.fusion.program import VALUE as VALUE
from born.fusion.program import GroupProgram as GroupProgram
from born.fusion.program import Instruction as Instruction
from born.fusion.program import Program as Program
from born.fusion.program import Ref as Ref
from born.fusion.reductions import all_finite as all_finite
from born.fusion.reductions import matmul as matmul
from born.fusion.reductions import max as max
from born.fusion.reductions import mean as mean
from born.fusion.reductions import norm as norm
from born.fusion.reductions import orthogonalize as orthogonalize
from born.fusion.reductions import sum as sum
from born.fusion.reductions import total as total
from born.fusion.tracing import trace as trace
