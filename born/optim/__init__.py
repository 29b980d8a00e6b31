"""Optimizers: each a config, and the formula of the paper.

>>> import born
>>> from born import nn, optim
>>> model = nn.Linear(64, 10, born.get_backend("numpy"))
>>> optim.Adam(model.parameters(), optim.AdamConfig(lr=1e-3))
Adam(2 parameters, AdamConfig(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0))
"""

from born.optim.adam import Adam as Adam
from born.optim.adam import AdamConfig as AdamConfig
from born.optim.config import Config as Config
from born.optim.config import Interval as Interval
from born.optim.optimizer import Optimizer as Optimizer
from born.optim.rule import Rule as Rule
from born.optim.sgd import SGD as SGD
from born.optim.sgd import SGDConfig as SGDConfig

__all__ = [
    "SGD",
    "Adam",
    "AdamConfig",
    "Config",
    "Interval",
    "Optimizer",
    "Rule",
    "SGDConfig",
]
