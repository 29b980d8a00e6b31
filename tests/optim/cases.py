"""The table of optimizers: what each keeps. A new one is a row for each set of state.

What each computes is checked against its references in `tests/optim/golden/`.
"""

from __future__ import annotations

from born import optim

SLOTS: dict[optim.Config, list[str]] = {
    optim.SGDConfig(lr=0.1): [],
    optim.SGDConfig(lr=0.1, weight_decay=0.01): [],
    optim.SGDConfig(lr=0.1, momentum=0.9, dampening=0.1): ["velocity"],
    optim.SGDConfig(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01): ["velocity"],
    optim.AdamConfig(lr=0.1): ["m", "v"],
    optim.AdamConfig(lr=0.1, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.01): ["m", "v"],
    optim.AdamWConfig(lr=0.1, amsgrad=True): ["m", "v", "v_max"],
    optim.AdamaxConfig(lr=0.1): ["m", "u"],
    optim.RAdamConfig(lr=0.1): ["m", "v"],
    optim.RMSpropConfig(lr=0.01, centered=True, momentum=0.9): ["v", "mean", "buffer"],
    optim.AdagradConfig(lr=0.1): ["total"],
    optim.AdadeltaConfig(lr=10.0): ["v", "u"],
    optim.LionConfig(lr=0.1, weight_decay=0.01): ["m"],
    optim.SignumConfig(lr=0.1): ["m"],
    optim.RpropConfig(lr=0.1): ["previous", "size"],
    optim.AdaBeliefConfig(lr=0.1): ["m", "s"],
    optim.YogiConfig(lr=0.1): ["m", "v"],
    optim.AdanConfig(lr=0.1, weight_decay=0.01): ["m", "v", "n", "previous"],
    optim.ADOPTConfig(lr=0.1): ["m", "v"],
    optim.AdEMAMixConfig(lr=0.1, warmup=5): ["m", "slow", "v"],
    optim.NAdamConfig(lr=0.1): ["m", "v"],
    optim.ASGDConfig(lr=0.1, begin=1): ["average", "rate"],
    optim.LAMBConfig(lr=0.1, weight_decay=0.01): ["m", "v"],
    optim.LARSConfig(lr=10.0): ["velocity"],
    optim.NovoGradConfig(lr=0.1): ["m", "v"],
    optim.AdafactorConfig(lr=0.1, momentum=0.5): ["row", "column", "v", "m"],
    optim.MuonConfig(lr=0.1, one_lr=True): ["m", "v"],
    optim.ProdigyConfig(d0=0.1): ["m", "v", "s", "origin", "d", "numerator"],
    optim.ScheduleFreeSGDConfig(lr=0.1): ["z", "weights", "most"],
    optim.ScheduleFreeAdamWConfig(lr=0.1, warmup=2): ["z", "v", "weights", "most"],
}
"""Configs of every optimizer, for each set of state that it may keep -> the slots of that."""
