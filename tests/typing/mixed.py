"""Tensors and parameters of two backends do not meet in an operation."""

import born
from born import nn, ops
from born.autodiff import Autodiff
from born_numpy import NumpyBackend

plain = NumpyBackend()
recording = Autodiff(NumpyBackend())

x = born.zeros((4, 64), plain)
y = born.zeros((4, 64), recording)
layer = nn.Linear(64, 10, recording)

total = x + y  # error: operator, reportOperatorIssue+reportUnknownVariableType
ops.add(x, y)  # error: misc, reportArgumentType
ops.matmul(x, layer.weight)  # error: misc, reportArgumentType
layer(x)  # error: arg-type, reportArgumentType
ops.linear(x, layer.weight)  # error: misc, reportArgumentType
