"""The table of trajectories: every optimizer with each of its options, and each of its presets.

`tests/optim/golden/test_golden.py` fails if an optimizer, a field of a config or a preset is
missing. What `UpdateConfig` adds to every optimizer is tested beside it, by its definition.
"""

from __future__ import annotations

from typing import Any, Final

from born import optim
from tests.optim.golden.case import Case

EPS: Final = 0.1
"""Large enough to show where it is added, and where it is corrected."""
DECAY: Final = 0.1
SINGLE: Final = 1e-5
"""The bound where a reference computes its bias corrections in float32, whatever the dtype."""

Fields = dict[str, Any]


def _same(name: str, library: str, function: str, *every: Fields, **common: Any) -> list[Case]:
    """Cases whose options have the same names in born."""
    return [
        Case(name, library, function, {**common, **options}, {**common, **options})
        for options in every
    ]


def _renamed(names: dict[str, str], options: Fields) -> Fields:
    """Options under their names in another library; a list of names takes a tuple apart."""
    renamed: Fields = {}
    for name, value in options.items():
        theirs = names.get(name, name)
        if theirs.startswith("b1,"):
            renamed.update(zip(theirs.split(","), value, strict=True))
        elif theirs:
            renamed[theirs] = value
    return renamed


def _like(
    system: str,
    name: str,
    function: str,
    names: dict[str, str],
    *every: Fields,
    library: str | None = None,
    relative: float = 1e-10,
    steady: bool = False,
    together: bool = False,
    lr: float = 0.1,
    **given: Any,
) -> list[Case]:
    """Cases of a preset: born's fields, and the same under the names of that system.

    `given` is what the reference has to be told and the preset knows.
    """
    return [
        Case(
            name,
            library or system,
            function,
            {**given, **_renamed(names, options)},
            options,
            system,
            relative=relative,
            steady=steady,
            together=together,
            lr=lr,
        )
        for options in every
    ]


_OPTAX: Final = {"betas": "b1,b2"}
_KERAS: Final = {"eps": "epsilon"}

B: Final = {"betas": (0.8, 0.95)}
L2: Final = {"weight_decay": DECAY}

SGD: Final = [
    *_same(
        "SGD",
        "torch",
        "SGD",
        {},
        L2,
        {"maximize": True},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3, **L2},
        {"momentum": 0.9, "nesterov": True, **L2},
    ),
    *_like("torch", "SGD", "SGD", {}, {"momentum": 0.9, "dampening": 0.3, **L2}),
    *_like("optax", "SGD", "sgd", {}, {}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}),
    *_like(
        "keras",
        "SGD",
        "SGD",
        {},
        {},
        {"momentum": 0.9, **L2},
        {"momentum": 0.9, "nesterov": True, **L2},
    ),
    *_like(
        "mlx",
        "SGD",
        "SGD",
        {},
        {},
        {"momentum": 0.9, **L2},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
    ),
    *_like(
        "burn",
        "SGD",
        "burn_sgd",
        {},
        {"momentum": 0.9, **L2},
        {"momentum": 0.9, "nesterov": True},
        library="formula",
        dampening=0.1,
    ),
    *_like("born-go", "SGD", "sgd", {}, {}, library="formula"),
    *_like("born-go", "SGD", "born_go_momentum", {}, {"momentum": 0.9}, library="formula"),
    *_like("autograd", "SGD", "sgd", {}, {}, library="formula"),
    *_like("autograd", "SGD", "autograd_momentum", {}, {"momentum": 0.9}, library="formula"),
    *_like("autograd", "SGD", "autograd_l2", {}, {"momentum": 0.9, **L2}, library="formula"),
    *_like(
        "tiny-pytorch",
        "SGD",
        "tiny_sgd",
        {},
        {"momentum": 0.0, **L2},
        {"momentum": 0.9, **L2},
        library="formula",
    ),
    *_like("gomlx", "SGD", "gomlx_sgd", {}, {}, library="formula"),
    *_like("dtorch", "SGD", "sgd", {}, {}, library="formula"),
    *_like("dtorch", "SGD", "dtorch_sgd", {}, {"momentum": 0.9}, library="formula"),
]

_ADAM_OPTIONS: Final[list[Fields]] = [
    {"eps": EPS},
    {"eps": EPS, **B, **L2},
    {"eps": EPS, "amsgrad": True},
    {"eps": EPS, "maximize": True},
]

ADAM: Final = [
    *_same("Adam", "torch", "Adam", {}, *_ADAM_OPTIONS),
    *_like("torch", "Adam", "Adam", {}, {"eps": EPS}),
    *_like(
        "optax",
        "Adam",
        "adam",
        _OPTAX,
        {"eps": EPS},
        {"eps": EPS, "eps_root": 0.2, **B},
        {"eps": EPS, "nesterov": True},
    ),
    Case("Adam", "optax", "amsgrad", {"eps": EPS}, {"eps": EPS, "amsgrad": True}, "optax"),
    Case(
        "Adam",
        "optax",
        "amsgrad",
        {"eps": EPS, "eps_root": 0.2},
        {"eps": EPS, "eps_root": 0.2, "amsgrad": True, "max_of": "v_hat"},
    ),
    *_like(
        "keras",
        "Adam",
        "Adam",
        _KERAS,
        {"eps": EPS},
        {"eps": EPS, **L2},
        {"eps": EPS, "amsgrad": True},
    ),
    *_like("mlx", "Adam", "Adam", {}, {"eps": EPS}),
    *_like("mlx", "Adam", "Adam", {}, {"eps": EPS, "bias_correction": True, **B}, relative=SINGLE),
    Case(
        "Adam",
        "formula",
        "adam",
        {"eps": EPS, **B},
        {"eps": EPS, "bias_correction": True, **B},
        "mlx",
    ),
    *_like("burn", "Adam", "adam", {}, {**B, **L2}, library="formula", eps=1e-5),
    *_like("born-go", "Adam", "adam", {}, {"eps": EPS, **B}, library="formula"),
    *_like("autograd", "Adam", "autograd_adam", {}, {"eps": EPS, **B}, library="formula"),
    *_like("tiny-pytorch", "Adam", "adam", {}, {"eps": EPS, **B, **L2}, library="formula"),
    *_like("gomlx", "Adam", "adam", {}, B, library="formula", eps=1e-7),
    *_like("gomlx", "Adam", "adam", {}, {**B, **L2}, library="formula", eps=1e-7, decoupled=True),
    *_like("dtorch", "Adam", "adam", {}, {"eps": EPS, **B, **L2}, library="formula"),
]

ADAMW: Final = [
    *_same("AdamW", "torch", "AdamW", {}, *_ADAM_OPTIONS),
    Case("AdamW", "torch", "Adam", {"eps": EPS, **L2}, {"eps": EPS, "decay": "l2", **L2}),
    Case(
        "AdamW",
        "optax",
        "amsgrad",
        {"eps": EPS},
        {"eps": EPS, "amsgrad": True, "max_of": "v_hat", "weight_decay": 0.0},
    ),
    *_like("torch", "AdamW", "AdamW", {}, {"eps": EPS}),
    *_like("optax", "AdamW", "adamw", _OPTAX, {"eps": EPS}, {"eps": EPS, "nesterov": True, **B}),
    *_like("optax", "AdamW", "adamw", _OPTAX, {"eps": EPS, "eps_root": 0.2, **L2}),
    *_like("keras", "AdamW", "AdamW", _KERAS, {"eps": EPS}, {"eps": EPS, "amsgrad": True, **L2}),
    *_like("mlx", "AdamW", "AdamW", {}, {"eps": EPS}),
    *_like("mlx", "AdamW", "AdamW", {}, {"bias_correction": True, **B, **L2}, relative=SINGLE),
    Case(
        "AdamW",
        "formula",
        "adam",
        {"eps": 1e-8, "decoupled": True, **B, **L2},
        {"bias_correction": True, **B, **L2},
        "mlx",
    ),
    *_like(
        "burn",
        "AdamW",
        "adam",
        {},
        B,
        library="formula",
        eps=1e-5,
        weight_decay=1e-4,
        decoupled=True,
    ),
    *_like("autograd", "AdamW", "autograd_adam", {}, {"eps": EPS, **B, **L2}, library="formula"),
    *_like(
        "gomlx",
        "AdamW",
        "adam",
        {},
        B,
        library="formula",
        eps=1e-7,
        weight_decay=0.004,
        decoupled=True,
    ),
]

ADAMAX: Final = [
    *_same("Adamax", "torch", "Adamax", {}, {"eps": EPS}, {"eps": EPS, **B, **L2}),
    *_like("torch", "Adamax", "Adamax", {}, {"eps": EPS}),
    *_like("optax", "Adamax", "adamax", _OPTAX, {"eps": EPS, **B}),
    *_like("keras", "Adamax", "Adamax", _KERAS, {"eps": EPS}, {"eps": EPS, **L2}),
    *_like("mlx", "Adamax", "Adamax", {}, {"eps": EPS, **B}),
    *_like("gomlx", "Adamax", "gomlx_adamax", {}, B, library="formula", eps=1e-7),
]

RADAM: Final = [
    *_same("RAdam", "torch", "RAdam", {}, {"eps": EPS}, {"eps": EPS, **B, **L2}),
    Case(
        "RAdam",
        "torch",
        "RAdam",
        {"eps": EPS, "decoupled_weight_decay": True, **L2},
        {"eps": EPS, "decay": "decoupled", **L2},
    ),
    *_like("torch", "RAdam", "RAdam", {}, {"eps": EPS}),
    *_like("optax", "RAdam", "radam", _OPTAX, {"eps": EPS}, {"eps": EPS, "threshold": 4.2, **B}),
]

_RMSPROP_KERAS: Final = {"alpha": "rho", **_KERAS}

RMSPROP: Final = [
    *_same(
        "RMSprop",
        "torch",
        "RMSprop",
        {},
        {"eps": EPS, "alpha": 0.9, **L2},
        {"eps": EPS, "momentum": 0.9},
        {"eps": EPS, "centered": True},
        {"eps": EPS, "centered": True, "momentum": 0.9},
    ),
    *_like("torch", "RMSprop", "RMSprop", {}, {"eps": EPS}),
    *_like(
        "optax",
        "RMSprop",
        "rmsprop",
        {"alpha": "decay", "start": "initial_scale", "eps_inside": "eps_in_sqrt"},
        {"eps": EPS},
        {"eps": EPS, "alpha": 0.8, "momentum": 0.9},
        {"eps": EPS, "momentum": 0.9, "nesterov": True},
        {"eps": EPS, "centered": True, "start": 1.5, "bias_correction": True},
        {"eps": EPS, "eps_inside": False, "bias_correction": True},
    ),
    Case(
        "RMSprop",
        "timm",
        "rmsprop_tf.RMSpropTF",
        {"eps": EPS, "momentum": 0.9},
        {"eps": EPS, "momentum": 0.9, "alpha": 0.9, "start": 1.0}
        | {"eps_inside": True, "lr_inside": True},
    ),
    *_like(
        "keras",
        "RMSprop",
        "RMSprop",
        _RMSPROP_KERAS,
        {"eps": EPS},
        {"eps": EPS, "momentum": 0.9, **L2},
        {"eps": EPS, "centered": True, "alpha": 0.8},
    ),
    *_like("mlx", "RMSprop", "RMSprop", {}, {"eps": EPS, "alpha": 0.9}),
    *_like(
        "burn", "RMSprop", "rmsprop", {}, {"alpha": 0.9}, library="formula", eps=1e-5, momentum=0.9
    ),
    *_like(
        "gomlx",
        "RMSprop",
        "rmsprop",
        {},
        {"alpha": 0.95},
        library="formula",
        eps=1e-7,
        corrected=True,
    ),
    *_like(
        "gomlx",
        "RMSprop",
        "rmsprop",
        {},
        L2,
        library="formula",
        alpha=0.999,
        eps=1e-7,
        corrected=True,
    ),
]

_START: Final = {"start": "initial_accumulator_value"}

ADAGRAD: Final = [
    *_same("Adagrad", "torch", "Adagrad", {}, {"eps": EPS, "lr_decay": 0.2, **L2}),
    Case(
        "Adagrad",
        "torch",
        "Adagrad",
        {"eps": EPS, "initial_accumulator_value": 0.5},
        {"eps": EPS, "start": 0.5},
    ),
    *_like("torch", "Adagrad", "Adagrad", {}, {"eps": EPS}),
    *_like("optax", "Adagrad", "adagrad", _START, {"eps": EPS}, {"eps": EPS, "start": 0.0}),
    # Where there was no gradient yet, and nothing else is in the sum, nothing moves.
    *_like("optax", "Adagrad", "adagrad", _START, {"eps": 0.0, "start": 0.0}),
    *_like("keras", "Adagrad", "Adagrad", _START | _KERAS, {"eps": EPS}, {"start": 0.5, **L2}),
    *_like("mlx", "Adagrad", "Adagrad", {}, {"eps": EPS}),
    *_like("burn", "Adagrad", "adagrad", {}, {"lr_decay": 0.2}, library="formula", eps=1e-5),
]

ADADELTA: Final = [
    *_same("Adadelta", "torch", "Adadelta", {}, {"eps": EPS, "rho": 0.8, **L2}),
    *_like("torch", "Adadelta", "Adadelta", {}, {"eps": EPS}),
    *_like("optax", "Adadelta", "adadelta", {}, {"eps": EPS}, {"eps": EPS, **L2}),
    *_like("keras", "Adadelta", "Adadelta", _KERAS, {"eps": EPS}, {"rho": 0.8, **L2}),
    *_like("mlx", "Adadelta", "AdaDelta", {}, {"eps": EPS, "rho": 0.8}),
]

SIGNS: Final = [
    *_like("optax", "Lion", "lion", _OPTAX, {}, {**B, **L2}),
    *_like("keras", "Lion", "Lion", _KERAS, {}, L2),
    *_like("mlx", "Lion", "Lion", {}, {}, {**B, **L2}),
    Case("Lion", "optax", "lion", {"b1": 0.8, "b2": 0.95, **L2}, {**B, **L2}),
    *_like("optax", "Signum", "signum", {"momentum": "beta"}, {}, {"momentum": 0.5}),
    *_same("Signum", "formula", "signum", {"momentum": 0.9}),
    *_same(
        "Rprop",
        "torch",
        "Rprop",
        {},
        {"etas": (0.3, 1.5)},
        {"step_sizes": (0.09, 0.13)},
        {"maximize": True},
    ),
    *_like("torch", "Rprop", "Rprop", {}, {}),
]

_ADAN: Final = {"betas": "b1,b2,b3"}
_B3: Final = {"betas": (0.8, 0.6, 0.95)}

OTHERS: Final = [
    *_like(
        "optax",
        "AdaBelief",
        "adabelief",
        _OPTAX,
        {"eps": EPS},
        {"eps": EPS, "eps_root": 0.05, **B},
    ),
    Case("AdaBelief", "optax", "adabelief"),
    *_like("optax", "Yogi", "yogi", _OPTAX, {"eps": EPS}, B),
    *[
        Case("Yogi", "formula", "yogi", {**options, "start": 1e-6}, options)
        for options in ({"eps": EPS, **B}, {"eps": EPS, "betas": (0.9, 0.999)})
    ],
    *_like(
        "optax", "Adan", "adan", _ADAN, {"eps": EPS}, {"eps": EPS, "eps_root": 0.2, **L2, **_B3}
    ),
    *[
        Case("Adan", "timm", "adan.Adan", {**options, "foreach": False}, options)
        for options in ({}, {"eps": EPS, **L2, **_B3})
    ],
    Case(
        "Adan",
        "timm",
        "adan.Adan",
        {"eps": EPS, "no_prox": True, "foreach": False, **L2},
        {"eps": EPS, "proximal": False, **L2},
    ),
    *_like("optax", "ADOPT", "adopt", _OPTAX, {}, {"eps": EPS, "nesterov": True, **B}),
    Case(
        "ADOPT",
        "optax",
        "adopt",
        {"eps": EPS, "use_clipping": False},
        {"eps": EPS, "clip_power": None},
    ),
    Case(
        "ADOPT",
        "timm",
        "adopt.Adopt",
        {"eps": EPS, "clip_exp": 0.333, **L2, "foreach": False},
        {"eps": EPS, "clip_power": 0.333, **L2},
    ),
    *_like(
        "optax",
        "AdEMAMix",
        "ademamix",
        {"betas": "b1,b2,b3"},
        {},
        {"eps": EPS, "alpha": 3.0, **_B3, **L2},
    ),
]


def _warm_alpha(jnp: Any) -> Any:
    def scheduled(count: Any) -> Any:
        return 5.0 * jnp.minimum((count + 1).astype(jnp.float64) / 8, 1.0)

    return scheduled


def _warm_beta(jnp: Any) -> Any:
    fast, full = jnp.log(0.9), jnp.log(0.9999)

    def scheduled(count: Any) -> Any:
        done = jnp.minimum((count + 1).astype(jnp.float64) / 8, 1.0)
        return jnp.minimum(jnp.exp(fast * full / ((1 - done) * full + done * fast)), 0.9999)

    return scheduled


WARM: Final = Case(
    "AdEMAMix",
    "optax",
    "ademamix",
    {"eps": EPS, "alpha": _warm_alpha, "b3": _warm_beta},
    {"eps": EPS, "warmup": 8},
)

NADAM: Final = [
    *_same("NAdam", "torch", "NAdam", {}, {"eps": EPS, "momentum_decay": 0.5, **B, **L2}),
    *_like("torch", "NAdam", "NAdam", {}, {"eps": EPS}),
    *_like("optax", "NAdam", "nadam", _OPTAX, {"eps": EPS}, B),
    *_like("keras", "NAdam", "Nadam", _KERAS, {"eps": EPS}, L2),
]

ASGD: Final = [
    Case(
        "ASGD",
        "torch",
        "ASGD",
        {"lambd": 0.3, "alpha": 0.6, "t0": 4, **L2},
        {"shrink": 0.3, "power": 0.6, "begin": 4, **L2},
    ),
    *_like("torch", "ASGD", "ASGD", {}, {}, {"maximize": True}),
]

LAYERWISE: Final = [
    *_like(
        "optax",
        "LAMB",
        "lamb",
        _OPTAX,
        {},
        {"eps": EPS, **B, **L2},
    ),
    *_like("keras", "LAMB", "Lamb", _KERAS, {"eps": EPS}, {"eps": EPS, **L2}),
    *_like(
        "optax",
        "LARS",
        "lars",
        {"trust": "trust_coefficient"},
        {},
        {"momentum": 0.5, "nesterov": True, **L2},
        {"eps": EPS, "trust": 0.01, **L2},
    ),
    *_like("optax", "NovoGrad", "novograd", _OPTAX, {}, {"eps": EPS, **B, **L2}),
]

_FACTORED: Final = {"factor_from": "min_dim_size_to_factor", "beta2_decay": ""}

ADAFACTOR: Final = [
    *_same("Adafactor", "torch", "Adafactor", {}, L2, {"beta2_decay": -0.5}, {"maximize": True}),
    Case(
        "Adafactor",
        "torch",
        "Adafactor",
        {"eps": (0.1, 0.2), "d": 1.5},
        {"eps": (0.1, 0.2), "clip": 1.5},
        lr=2.0,
    ),
    *_like("torch", "Adafactor", "Adafactor", {}, {}),
    # Its power of t is in float32.
    *[
        Case(
            "Adafactor",
            "optax",
            "adafactor",
            {"min_dim_size_to_factor": 2, **theirs},
            {"factor_from": 2, **ours},
            "optax",
            relative=SINGLE,
        )
        for theirs, ours in (
            ({}, {}),
            ({"eps": 1e-3, "clipping_threshold": 0.5}, {"eps": (1e-3, 1e-3), "clip": 0.5}),
            ({"momentum": 0.9, "weight_decay_rate": DECAY}, {"momentum": 0.9, **L2}),
            ({"multiply_by_parameter_scale": False}, {"scale_parameter": False}),
        )
    ],
    *[
        Case("Adafactor", "formula", "optax_adafactor", {"least": 2, **theirs}, ours, "optax")
        for theirs, ours in (
            ({}, {"factor_from": 2}),
            ({"eps": 1e-3, "clip": 0.5}, {"factor_from": 2, "eps": (1e-3, 1e-3), "clip": 0.5}),
            ({"momentum": 0.9, **L2}, {"factor_from": 2, "momentum": 0.9, **L2}),
            ({"scaled": False}, {"factor_from": 2, "scale_parameter": False}),
        )
    ],
    *_like("optax", "Adafactor", "adafactor", {}, {}, relative=SINGLE),
    *_like("optax", "Adafactor", "optax_adafactor", {}, {}, library="formula"),
    *_like("keras", "Adafactor", "Adafactor", _KERAS, {}, L2, relative=SINGLE),
    *_like("keras", "Adafactor", "keras_adafactor", {}, {}, L2, library="formula"),
    *_like(
        "mlx",
        "Adafactor",
        "mlx_adafactor",
        {},
        {},
        L2,
        lr=0.01,
        steady=True,
        library="formula",
    ),
    Case(
        "Adafactor",
        "formula",
        "mlx_adafactor",
        {"relative": False, "momentum": 0.9, **L2},
        {"relative_step": False, "momentum": 0.9, **L2},
        "mlx",
    ),
    *_like("mlx", "Adafactor", "Adafactor", {}, {}, L2, lr=0.01, steady=True, relative=SINGLE),
    *_like(
        "mlx",
        "Adafactor",
        "Adafactor",
        {"momentum": "beta_1"},
        {"relative_step": False, "momentum": 0.9, **L2},
        relative=SINGLE,
    ),
]

MUON: Final = [
    *[
        Case("Muon", "torch", "Muon", options, {**options, "exclude": ()})
        for options in (
            {"weight_decay": 0.0},
            L2 | {"momentum": 0.8, "nesterov": False},
            L2 | {"eps": 3.0},
        )
    ],
    Case(
        "Muon",
        "torch",
        "Muon",
        {"ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5), "adjust_lr_fn": "match_rms_adamw"},
        {"steps": 3, "coefficients": (2.0, -1.5, 0.5), "scale": "match_rms_adamw"}
        | {"weight_decay": 0.1, "exclude": ()},
    ),
    *_like("torch", "Muon", "Muon", {}, {}),
    *_like("optax", "Muon", "muon", {}, {}),
    Case(
        "Muon",
        "optax",
        "muon",
        {"beta": 0.8, "nesterov": False},
        {"momentum": 0.8, "nesterov": False}
        | {"others": optim.AdamWConfig.like("optax", weight_decay=0.0)},
        "optax",
    ),
    Case(
        "Muon",
        "optax",
        "muon",
        {"eps": 1e-8, "weight_decay": DECAY, "consistent_rms": 0.2},
        {"scale": "match_rms_adamw", **L2},
        "optax",
    ),
    *_like(
        "optax",
        "Muon",
        "muon",
        {"momentum": "beta", "steps": "ns_steps"},
        *[
            {"preconditioning": name, "momentum": 0.8, "steps": 4, "eps": 1e-8}
            for name in ("spectral", "schatten", "aol")
        ],
    ),
    *_like("keras", "Muon", "Muon", {}, {}, {"nesterov": False, **L2}, relative=SINGLE),
    *_like("keras", "Muon", "keras_muon", {}, {}, {"nesterov": False, **L2}, library="formula"),
    *_like("mlx", "Muon", "Muon", {}, {}, {"nesterov": False, **L2}, relative=SINGLE),
    *_like("mlx", "Muon", "mlx_muon", {}, {}, {"nesterov": False, **L2}, library="formula"),
    *[
        Case(
            "Muon",
            "formula",
            "burn_muon",
            {"momentum": 0.9, "scale": scale},
            {"momentum": 0.9, "scale": scale},
            "burn",
        )
        for scale in ("rms_to_rms", "none")
    ],
    Case(
        "Muon",
        "formula",
        "burn_muon",
        {"momentum": 0.9, "flat": True},
        {"momentum": 0.9, "kernels": "flat"},
        "burn",
    ),
    Case(
        "Muon",
        "torch",
        "AdamW",
        {},
        {"exclude": ("*",), "one_lr": True, "others": optim.AdamWConfig()},
    ),
    *_like("burn", "Muon", "burn_muon", {}, {"momentum": 0.9, **L2}, library="formula"),
]

_PRODIGY: Final[list[Fields]] = [
    {},
    {"d0": 0.1, "eps": EPS, "d_coef": 2.0, **B},
    {"d0": 0.1, "safeguard_warmup": True, "beta3": 0.8, **L2},
]

PRODIGY: Final = [
    *_same("Prodigy", "prodigyopt", "Prodigy", *_PRODIGY),
    # Elsewhere the estimate stays where it starts: gradients do not lead from there.
    *[
        Case("Prodigy", "prodigyopt", "Prodigy", options, options, lr=1.0, pulled=True)
        for options in ({"d0": 1e-3}, {"d0": 1e-3, "growth_rate": 1.1}, {"d0": 0.01, "d_coef": 2.0})
    ],
    Case(
        "Prodigy",
        "prodigyopt",
        "Prodigy",
        {"d0": 0.1, "decouple": False, **L2},
        {"d0": 0.1, "decay": "l2", **L2},
    ),
    Case(
        "Prodigy",
        "prodigyopt",
        "Prodigy",
        {"d0": 0.1, "use_bias_correction": True},
        {"d0": 0.1, "bias_correction": True},
        together=True,
    ),
    *_like(
        "optax",
        "Prodigy",
        "prodigy",
        {"d0": "estim_lr0", "d_coef": "estim_lr_coef"},
        {},
        {"d0": 0.1, "eps": EPS, **L2},
        together=True,
    ),
]

SCHEDULE_FREE: Final = [
    *[
        Case("ScheduleFreeSGD", "schedulefree", "SGDScheduleFree", theirs, ours)
        for theirs, ours in (
            ({}, {}),
            ({"momentum": 0.7, "r": 1.0, **L2}, {"momentum": 0.7, "r": 1.0, **L2}),
            (
                {"warmup_steps": 5, "weight_lr_power": 1.0},
                {"warmup": 5, "weight_power": 1.0},
            ),
        )
    ],
    *_like(
        "optax",
        "ScheduleFreeSGD",
        "schedule_free_sgd",
        {"momentum": "b1", "warmup": "warmup_steps"},
        {},
        {"momentum": 0.7, **L2},
        steady=True,
    ),
    *[
        Case("ScheduleFreeAdamW", "schedulefree", "AdamWScheduleFree", theirs, ours)
        for theirs, ours in (
            ({}, {}),
            ({"eps": EPS, "r": 1.0, **B, **L2}, {"eps": EPS, "r": 1.0, **B, **L2}),
            (
                {"warmup_steps": 5, "weight_lr_power": 1.0},
                {"warmup": 5, "weight_power": 1.0},
            ),
        )
    ],
    *_like(
        "optax",
        "ScheduleFreeAdamW",
        "schedule_free_adamw",
        {**_OPTAX, "warmup": "warmup_steps"},
        {},
        {"eps": EPS, **B, **L2},
        steady=True,
    ),
    # Its warm-up counts in float32.
    *[
        case
        for base, function, own in (
            ("SGD", "sgd", {}),
            ("AdamW", "adamw", {"eps": EPS, "weight_decay": 0.0}),
        )
        for case in (
            Case(
                f"ScheduleFree{base}",
                "optax",
                f"schedule_free_{function}",
                {**own, "warmup_steps": 5},
                {**own, "warmup": 5},
                "optax",
                relative=SINGLE,
                steady=True,
            ),
            Case(
                f"ScheduleFree{base}",
                "formula",
                "optax_schedule_free",
                {"warmup": 5, **{name: own[name] for name in own if name == "eps"}},
                {**own, "warmup": 5},
                "optax",
                steady=True,
            ),
        )
    ],
    *_like("keras", "ScheduleFreeAdamW", "ScheduleFreeAdamW", _KERAS, {"eps": EPS}, L2),
]

CASES: Final = [
    *SGD,
    *ADAM,
    *ADAMW,
    *ADAMAX,
    *RADAM,
    *RMSPROP,
    *ADAGRAD,
    *ADADELTA,
    *SIGNS,
    *OTHERS,
    WARM,
    *NADAM,
    *ASGD,
    *LAYERWISE,
    *ADAFACTOR,
    *MUON,
    *PRODIGY,
    *SCHEDULE_FREE,
]
