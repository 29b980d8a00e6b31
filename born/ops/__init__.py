"""Every operation as a function of tensors, with NumPy's keywords (`axis`, `keepdims`).

The common ones are methods of `Tensor` too. Tensors of one call share a backend and a dtype;
Python numbers take the dtype of the tensor beside them. Shapes that do not fit are a
`ShapeError`, an option that is not among those named a `DomainError`. In the examples, `backend`
is a `NumpyBackend` and `ops` is this package.
"""

from born.ops import linalg as linalg
from born.ops import special as special
from born.ops.creation import astype as astype
from born.ops.creation import copy as copy
from born.ops.creation import full_like as full_like
from born.ops.creation import ones_like as ones_like
from born.ops.creation import zeros_like as zeros_like
from born.ops.einsum import einsum as einsum
from born.ops.elementwise import abs as abs
from born.ops.elementwise import add as add
from born.ops.elementwise import allclose as allclose
from born.ops.elementwise import arccos as arccos
from born.ops.elementwise import arccosh as arccosh
from born.ops.elementwise import arcsin as arcsin
from born.ops.elementwise import arcsinh as arcsinh
from born.ops.elementwise import arctan as arctan
from born.ops.elementwise import arctan2 as arctan2
from born.ops.elementwise import arctanh as arctanh
from born.ops.elementwise import array_equal as array_equal
from born.ops.elementwise import cbrt as cbrt
from born.ops.elementwise import ceil as ceil
from born.ops.elementwise import clamp as clamp
from born.ops.elementwise import copysign as copysign
from born.ops.elementwise import cos as cos
from born.ops.elementwise import cosh as cosh
from born.ops.elementwise import deg2rad as deg2rad
from born.ops.elementwise import div as div
from born.ops.elementwise import divmod as divmod
from born.ops.elementwise import equal as equal
from born.ops.elementwise import erf as erf
from born.ops.elementwise import exp as exp
from born.ops.elementwise import exp2 as exp2
from born.ops.elementwise import expm1 as expm1
from born.ops.elementwise import floor as floor
from born.ops.elementwise import floor_divide as floor_divide
from born.ops.elementwise import fmax as fmax
from born.ops.elementwise import fmin as fmin
from born.ops.elementwise import fmod as fmod
from born.ops.elementwise import gelu as gelu
from born.ops.elementwise import greater as greater
from born.ops.elementwise import greater_equal as greater_equal
from born.ops.elementwise import heaviside as heaviside
from born.ops.elementwise import hypot as hypot
from born.ops.elementwise import isclose as isclose
from born.ops.elementwise import isfinite as isfinite
from born.ops.elementwise import isinf as isinf
from born.ops.elementwise import isnan as isnan
from born.ops.elementwise import isneginf as isneginf
from born.ops.elementwise import isposinf as isposinf
from born.ops.elementwise import less as less
from born.ops.elementwise import less_equal as less_equal
from born.ops.elementwise import log as log
from born.ops.elementwise import log1p as log1p
from born.ops.elementwise import log2 as log2
from born.ops.elementwise import log10 as log10
from born.ops.elementwise import logaddexp as logaddexp
from born.ops.elementwise import logaddexp2 as logaddexp2
from born.ops.elementwise import logical_and as logical_and
from born.ops.elementwise import logical_not as logical_not
from born.ops.elementwise import logical_or as logical_or
from born.ops.elementwise import logical_xor as logical_xor
from born.ops.elementwise import maximum as maximum
from born.ops.elementwise import minimum as minimum
from born.ops.elementwise import modf as modf
from born.ops.elementwise import mul as mul
from born.ops.elementwise import nan_to_num as nan_to_num
from born.ops.elementwise import neg as neg
from born.ops.elementwise import not_equal as not_equal
from born.ops.elementwise import positive as positive
from born.ops.elementwise import pow as pow
from born.ops.elementwise import rad2deg as rad2deg
from born.ops.elementwise import reciprocal as reciprocal
from born.ops.elementwise import relu as relu
from born.ops.elementwise import remainder as remainder
from born.ops.elementwise import rint as rint
from born.ops.elementwise import round as round
from born.ops.elementwise import rsqrt as rsqrt
from born.ops.elementwise import sigmoid as sigmoid
from born.ops.elementwise import sign as sign
from born.ops.elementwise import signbit as signbit
from born.ops.elementwise import silu as silu
from born.ops.elementwise import sin as sin
from born.ops.elementwise import sinc as sinc
from born.ops.elementwise import sinh as sinh
from born.ops.elementwise import softplus as softplus
from born.ops.elementwise import sqrt as sqrt
from born.ops.elementwise import square as square
from born.ops.elementwise import sub as sub
from born.ops.elementwise import tan as tan
from born.ops.elementwise import tanh as tanh
from born.ops.elementwise import trunc as trunc
from born.ops.elementwise import where as where
from born.ops.images import adaptive_avg_pool1d as adaptive_avg_pool1d
from born.ops.images import adaptive_avg_pool2d as adaptive_avg_pool2d
from born.ops.images import adaptive_max_pool1d as adaptive_max_pool1d
from born.ops.images import adaptive_max_pool2d as adaptive_max_pool2d
from born.ops.images import avg_pool1d as avg_pool1d
from born.ops.images import avg_pool2d as avg_pool2d
from born.ops.images import conv1d as conv1d
from born.ops.images import conv2d as conv2d
from born.ops.images import conv_transpose1d as conv_transpose1d
from born.ops.images import conv_transpose2d as conv_transpose2d
from born.ops.images import fold as fold
from born.ops.images import max_pool1d as max_pool1d
from born.ops.images import max_pool2d as max_pool2d
from born.ops.images import pixel_shuffle as pixel_shuffle
from born.ops.images import pixel_unshuffle as pixel_unshuffle
from born.ops.images import unfold as unfold
from born.ops.images import upsample as upsample
from born.ops.indexing import digitize as digitize
from born.ops.indexing import gather as gather
from born.ops.indexing import getitem as getitem
from born.ops.indexing import index_add as index_add
from born.ops.indexing import one_hot as one_hot
from born.ops.indexing import scatter_add as scatter_add
from born.ops.indexing import searchsorted as searchsorted
from born.ops.indexing import take as take
from born.ops.linear import dot as dot
from born.ops.linear import inner as inner
from born.ops.linear import kron as kron
from born.ops.linear import linear as linear
from born.ops.linear import linear_relu as linear_relu
from born.ops.linear import matmul as matmul
from born.ops.linear import outer as outer
from born.ops.linear import tensordot as tensordot
from born.ops.linear import vdot as vdot
from born.ops.linear import vecdot as vecdot
from born.ops.network import attention as attention
from born.ops.network import batch_norm as batch_norm
from born.ops.network import cross_entropy as cross_entropy
from born.ops.network import dropout as dropout
from born.ops.network import group_norm as group_norm
from born.ops.network import layer_norm as layer_norm
from born.ops.network import log_softmax as log_softmax
from born.ops.network import recurrence as recurrence
from born.ops.network import rms_norm as rms_norm
from born.ops.network import softmax as softmax
from born.ops.order import argpartition as argpartition
from born.ops.order import cummax as cummax
from born.ops.order import cummin as cummin
from born.ops.order import logcumsumexp as logcumsumexp
from born.ops.order import median as median
from born.ops.order import nanmedian as nanmedian
from born.ops.order import nanpercentile as nanpercentile
from born.ops.order import nanquantile as nanquantile
from born.ops.order import partition as partition
from born.ops.order import percentile as percentile
from born.ops.order import quantile as quantile
from born.ops.order import sort as sort
from born.ops.order import topk as topk
from born.ops.order import unique as unique
from born.ops.reduction import all as all
from born.ops.reduction import any as any
from born.ops.reduction import argmax as argmax
from born.ops.reduction import argmin as argmin
from born.ops.reduction import argsort as argsort
from born.ops.reduction import cumprod as cumprod
from born.ops.reduction import cumsum as cumsum
from born.ops.reduction import logsumexp as logsumexp
from born.ops.reduction import max as max
from born.ops.reduction import mean as mean
from born.ops.reduction import min as min
from born.ops.reduction import norm as norm
from born.ops.reduction import prod as prod
from born.ops.reduction import std as std
from born.ops.reduction import sum as sum
from born.ops.reduction import var as var
from born.ops.sampled import convolve as convolve
from born.ops.sampled import correlate as correlate
from born.ops.sampled import diff as diff
from born.ops.sampled import gradient as gradient
from born.ops.sampled import interp as interp
from born.ops.sampled import trapezoid as trapezoid
from born.ops.shape import append as append
from born.ops.shape import array_split as array_split
from born.ops.shape import atleast_1d as atleast_1d
from born.ops.shape import atleast_2d as atleast_2d
from born.ops.shape import atleast_3d as atleast_3d
from born.ops.shape import block as block
from born.ops.shape import broadcast_arrays as broadcast_arrays
from born.ops.shape import broadcast_to as broadcast_to
from born.ops.shape import column_stack as column_stack
from born.ops.shape import concatenate as concatenate
from born.ops.shape import diag as diag
from born.ops.shape import diagflat as diagflat
from born.ops.shape import diagonal as diagonal
from born.ops.shape import dsplit as dsplit
from born.ops.shape import dstack as dstack
from born.ops.shape import expand_dims as expand_dims
from born.ops.shape import flip as flip
from born.ops.shape import fliplr as fliplr
from born.ops.shape import flipud as flipud
from born.ops.shape import hsplit as hsplit
from born.ops.shape import hstack as hstack
from born.ops.shape import ix_ as ix_
from born.ops.shape import meshgrid as meshgrid
from born.ops.shape import moveaxis as moveaxis
from born.ops.shape import pad as pad
from born.ops.shape import ravel as ravel
from born.ops.shape import repeat as repeat
from born.ops.shape import reshape as reshape
from born.ops.shape import roll as roll
from born.ops.shape import rollaxis as rollaxis
from born.ops.shape import rot90 as rot90
from born.ops.shape import sliding_window as sliding_window
from born.ops.shape import split as split
from born.ops.shape import squeeze as squeeze
from born.ops.shape import stack as stack
from born.ops.shape import swapaxes as swapaxes
from born.ops.shape import tile as tile
from born.ops.shape import trace as trace
from born.ops.shape import transpose as transpose
from born.ops.shape import tril as tril
from born.ops.shape import triu as triu
from born.ops.shape import unstack as unstack
from born.ops.shape import vsplit as vsplit
from born.ops.shape import vstack as vstack
from born.ops.statistics import average as average
from born.ops.statistics import bincount as bincount
from born.ops.statistics import corrcoef as corrcoef
from born.ops.statistics import count_nonzero as count_nonzero
from born.ops.statistics import cov as cov
from born.ops.statistics import histogram as histogram
from born.ops.statistics import nanargmax as nanargmax
from born.ops.statistics import nanargmin as nanargmin
from born.ops.statistics import nancumprod as nancumprod
from born.ops.statistics import nancumsum as nancumsum
from born.ops.statistics import nanmax as nanmax
from born.ops.statistics import nanmean as nanmean
from born.ops.statistics import nanmin as nanmin
from born.ops.statistics import nanprod as nanprod
from born.ops.statistics import nanstd as nanstd
from born.ops.statistics import nansum as nansum
from born.ops.statistics import nanvar as nanvar
from born.ops.statistics import ptp as ptp

# NumPy's names for the same functions.
absolute = fabs = abs
acos, acosh, asin, asinh = arccos, arccosh, arcsin, arcsinh
around = round
atan, atan2, atanh = arctan, arctan2, arctanh
clip = clamp
concat = concatenate
degrees, radians = rad2deg, deg2rad
fix = trunc
divide = div
mod = remainder
multiply = mul
take_along_axis = gather
negative = neg
permute_dims = transpose
sliding_window_view = sliding_window
power = pow
subtract = sub
true_divide = div

# What `help` lists; from a package it shows none of what other modules define otherwise.
__all__ = [name for name, value in list(globals().items()) if callable(value)]  # pyright: ignore[reportUnsupportedDunderAll]  # it stays right by itself
