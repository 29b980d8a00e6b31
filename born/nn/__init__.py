"""Layers, losses and initial values.

>>> import born
>>> from born import nn
>>> backend = born.get_backend("numpy")
>>> nn.Sequential(nn.Linear(64, 128, backend, activation="relu"), nn.Linear(128, 10, backend))
Sequential(
  0=Linear(activation='relu', weight=(128, 64), bias=(128,)),
  1=Linear(weight=(10, 128), bias=(10,))
)
"""

from __future__ import annotations

from born.nn import init
from born.nn.activation import (
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from born.nn.conv import Conv2d
from born.nn.dropout import Dropout
from born.nn.embedding import Embedding
from born.nn.linear import Linear
from born.nn.loss import (
    accuracy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
)
from born.nn.module import Layer, Module, Stateless
from born.nn.normalization import LayerNorm, RMSNorm
from born.nn.parameter import Parameter
from born.nn.pooling import AvgPool2d, MaxPool2d
from born.nn.sequential import Chainable, Sequential
from born.nn.shaping import Flatten
from born.nn.state import StateValue

__all__ = [
    "GELU",
    "AvgPool2d",
    "Chainable",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Module",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StateValue",
    "Stateless",
    "Tanh",
    "accuracy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "huber_loss",
    "init",
    "l1_loss",
    "mse_loss",
]
