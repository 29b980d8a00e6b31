"""Optimizers: each a config, and the formula of the paper.

>>> import born
>>> from born import nn, optim
>>> model = nn.Linear(64, 10, born.get_backend("numpy"))
>>> optim.SGD(model.parameters(), optim.SGDConfig(lr=0.1))
SGD(2 parameters, SGDConfig(lr=0.1))
"""

from born.optim import schedules as schedules
from born.optim.adafactor import Adafactor as Adafactor
from born.optim.adafactor import AdafactorConfig as AdafactorConfig
from born.optim.adagrad import Adadelta as Adadelta
from born.optim.adagrad import AdadeltaConfig as AdadeltaConfig
from born.optim.adagrad import Adagrad as Adagrad
from born.optim.adagrad import AdagradConfig as AdagradConfig
from born.optim.adam import Adam as Adam
from born.optim.adam import AdamConfig as AdamConfig
from born.optim.adam import AdamW as AdamW
from born.optim.adam import AdamWConfig as AdamWConfig
from born.optim.adamax import Adamax as Adamax
from born.optim.adamax import AdamaxConfig as AdamaxConfig
from born.optim.adan import Adan as Adan
from born.optim.adan import AdanConfig as AdanConfig
from born.optim.ademamix import AdEMAMix as AdEMAMix
from born.optim.ademamix import AdEMAMixConfig as AdEMAMixConfig
from born.optim.adopt import ADOPT as ADOPT
from born.optim.adopt import ADOPTConfig as ADOPTConfig
from born.optim.asgd import ASGD as ASGD
from born.optim.asgd import ASGDConfig as ASGDConfig
from born.optim.belief import AdaBelief as AdaBelief
from born.optim.belief import AdaBeliefConfig as AdaBeliefConfig
from born.optim.belief import Yogi as Yogi
from born.optim.belief import YogiConfig as YogiConfig
from born.optim.config import Config as Config
from born.optim.config import UpdateConfig as UpdateConfig
from born.optim.fields import Interval as Interval
from born.optim.layerwise import LAMB as LAMB
from born.optim.layerwise import LARS as LARS
from born.optim.layerwise import LAMBConfig as LAMBConfig
from born.optim.layerwise import LARSConfig as LARSConfig
from born.optim.layerwise import NovoGrad as NovoGrad
from born.optim.layerwise import NovoGradConfig as NovoGradConfig
from born.optim.muon import Muon as Muon
from born.optim.muon import MuonConfig as MuonConfig
from born.optim.nadam import NAdam as NAdam
from born.optim.nadam import NAdamConfig as NAdamConfig
from born.optim.optimizer import Optimizer as Optimizer
from born.optim.prodigy import Prodigy as Prodigy
from born.optim.prodigy import ProdigyConfig as ProdigyConfig
from born.optim.radam import RAdam as RAdam
from born.optim.radam import RAdamConfig as RAdamConfig
from born.optim.rmsprop import RMSprop as RMSprop
from born.optim.rmsprop import RMSpropConfig as RMSpropConfig
from born.optim.rule import Rule as Rule
from born.optim.rule import rule as rule
from born.optim.scalars import Scalar as Scalar
from born.optim.schedule_free import ScheduleFreeAdamW as ScheduleFreeAdamW
from born.optim.schedule_free import ScheduleFreeAdamWConfig as ScheduleFreeAdamWConfig
from born.optim.schedule_free import ScheduleFreeSGD as ScheduleFreeSGD
from born.optim.schedule_free import ScheduleFreeSGDConfig as ScheduleFreeSGDConfig
from born.optim.sgd import SGD as SGD
from born.optim.sgd import SGDConfig as SGDConfig
from born.optim.sign import Lion as Lion
from born.optim.sign import LionConfig as LionConfig
from born.optim.sign import Rprop as Rprop
from born.optim.sign import RpropConfig as RpropConfig
from born.optim.sign import Signum as Signum
from born.optim.sign import SignumConfig as SignumConfig
from born.optim.slot import Slot as Slot
from born.optim.transforms import decoupled as decoupled
from born.optim.transforms import independent as independent
from born.optim.transforms import l2 as l2
from born.optim.transforms import maximized as maximized
