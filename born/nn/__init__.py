"""Layers, losses and initial values.

A setting of the wrong type is a `ConfigTypeError`, one out of range a `ConfigError`; calling a
layer or a loss with a tensor of another shape is a `ShapeError`, of another dtype a `DTypeError`.

>>> import born
>>> from born import nn
>>> backend = born.get_backend("numpy")
>>> nn.Sequential(nn.Linear(64, 128, backend, activation="relu"), nn.Linear(128, 10, backend))
Sequential(
  0=Linear(activation='relu', weight=(128, 64), bias=(128,)),
  1=Linear(weight=(10, 128), bias=(10,))
)
"""

from born.nn import init as init
from born.nn.activation import ELU as ELU
from born.nn.activation import GELU as GELU
from born.nn.activation import GLU as GLU
from born.nn.activation import SELU as SELU
from born.nn.activation import Hardsigmoid as Hardsigmoid
from born.nn.activation import Hardswish as Hardswish
from born.nn.activation import Hardtanh as Hardtanh
from born.nn.activation import LeakyReLU as LeakyReLU
from born.nn.activation import LogSigmoid as LogSigmoid
from born.nn.activation import LogSoftmax as LogSoftmax
from born.nn.activation import Mish as Mish
from born.nn.activation import PReLU as PReLU
from born.nn.activation import ReLU as ReLU
from born.nn.activation import Sigmoid as Sigmoid
from born.nn.activation import SiLU as SiLU
from born.nn.activation import Softmax as Softmax
from born.nn.activation import Softplus as Softplus
from born.nn.activation import Softsign as Softsign
from born.nn.activation import Tanh as Tanh
from born.nn.attention import KeyValueCache as KeyValueCache
from born.nn.attention import MultiHeadAttention as MultiHeadAttention
from born.nn.attention import TransformerBlock as TransformerBlock
from born.nn.attention import rotary as rotary
from born.nn.attention import sinusoidal as sinusoidal
from born.nn.ctc import ctc_loss as ctc_loss
from born.nn.dropout import Dropout as Dropout
from born.nn.dropout import Dropout1d as Dropout1d
from born.nn.dropout import Dropout2d as Dropout2d
from born.nn.embedding import Embedding as Embedding
from born.nn.images import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from born.nn.images import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from born.nn.images import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from born.nn.images import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from born.nn.images import AvgPool1d as AvgPool1d
from born.nn.images import AvgPool2d as AvgPool2d
from born.nn.images import Conv1d as Conv1d
from born.nn.images import Conv2d as Conv2d
from born.nn.images import ConvTranspose1d as ConvTranspose1d
from born.nn.images import ConvTranspose2d as ConvTranspose2d
from born.nn.images import MaxPool1d as MaxPool1d
from born.nn.images import MaxPool2d as MaxPool2d
from born.nn.images import PixelShuffle as PixelShuffle
from born.nn.images import PixelUnshuffle as PixelUnshuffle
from born.nn.images import Upsample as Upsample
from born.nn.linear import Linear as Linear
from born.nn.loss import accuracy as accuracy
from born.nn.loss import binary_cross_entropy as binary_cross_entropy
from born.nn.loss import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from born.nn.loss import cosine_embedding_loss as cosine_embedding_loss
from born.nn.loss import cosine_similarity as cosine_similarity
from born.nn.loss import gaussian_nll_loss as gaussian_nll_loss
from born.nn.loss import huber_loss as huber_loss
from born.nn.loss import kl_div as kl_div
from born.nn.loss import l1_loss as l1_loss
from born.nn.loss import margin_ranking_loss as margin_ranking_loss
from born.nn.loss import mse_loss as mse_loss
from born.nn.loss import nll_loss as nll_loss
from born.nn.loss import poisson_nll_loss as poisson_nll_loss
from born.nn.loss import smooth_l1_loss as smooth_l1_loss
from born.nn.loss import triplet_margin_loss as triplet_margin_loss
from born.nn.module import Module as Module
from born.nn.module import Stateless as Stateless
from born.nn.normalization import BatchNorm1d as BatchNorm1d
from born.nn.normalization import BatchNorm2d as BatchNorm2d
from born.nn.normalization import GroupNorm as GroupNorm
from born.nn.normalization import InstanceNorm1d as InstanceNorm1d
from born.nn.normalization import InstanceNorm2d as InstanceNorm2d
from born.nn.normalization import LayerNorm as LayerNorm
from born.nn.normalization import RMSNorm as RMSNorm
from born.nn.parameter import Buffer as Buffer
from born.nn.parameter import Parameter as Parameter
from born.nn.recurrent import GRU as GRU
from born.nn.recurrent import LSTM as LSTM
from born.nn.recurrent import RNN as RNN
from born.nn.recurrent import GRUCell as GRUCell
from born.nn.recurrent import LSTMCell as LSTMCell
from born.nn.recurrent import RNNCell as RNNCell
from born.nn.sequential import Chainable as Chainable
from born.nn.sequential import Sequential as Sequential
from born.nn.shaping import Flatten as Flatten
from born.nn.shaping import Identity as Identity
from born.nn.shaping import Lambda as Lambda
from born.nn.shaping import Unflatten as Unflatten
from born.nn.state import StateValue as StateValue
from born.nn.traversal import Layer as Layer
from born.ops import cross_entropy as cross_entropy
