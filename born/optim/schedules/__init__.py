"""Schedules: hyperparameters that are functions of t, the number of the update.

Every float of a config may be one, of a learning rate as of a weight decay or a beta. t counts
the updates of a parameter from 1, so the first update is `schedule(1)`; PyTorch and Optax count
from 0, and call the same update 0. Schedules are frozen, keep no state and go to JSON with the
config, so nothing has to be saved for them but t. Any other function of t will do as well.

>>> schedule = schedules.Cosine(3e-4, steps=10_000, warmup=500)
>>> schedule(1), schedule(500), round(schedule(10_000), 12)
(6e-07, 0.0003, 8e-12)
>>> optim.AdamConfig(lr=schedule).to_json()["lr"]["type"]
'Cosine'
"""

from born.optim.scalars import Scalar as Scalar
from born.optim.schedules.combined import Piecewise as Piecewise
from born.optim.schedules.combined import Product as Product
from born.optim.schedules.combined import Sequence as Sequence
from born.optim.schedules.decay import Constant as Constant
from born.optim.schedules.decay import Exponential as Exponential
from born.optim.schedules.decay import InverseSqrt as InverseSqrt
from born.optim.schedules.decay import Linear as Linear
from born.optim.schedules.decay import MultiStep as MultiStep
from born.optim.schedules.decay import Polynomial as Polynomial
from born.optim.schedules.decay import Step as Step
from born.optim.schedules.drawing import plot as plot
from born.optim.schedules.drawing import text as text
from born.optim.schedules.phases import Cosine as Cosine
from born.optim.schedules.phases import OneCycle as OneCycle
from born.optim.schedules.phases import WarmupStableDecay as WarmupStableDecay
from born.optim.schedules.plateau import Plateau as Plateau
from born.optim.schedules.schedule import Schedule as Schedule
