"""Muon: steps of matrices whose singular values are all about 1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

from typing_extensions import override

from born.backend import B
from born.fusion import V, maximum, orthogonalize, sqrt
from born.nn import Parameter
from born.optim.adam import AdamWConfig
from born.optim.config import Config, Presets, UpdateConfig
from born.optim.fields import AUTO, Decay, DecayRate, Interval, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.transforms import decayed

_ADAMW = AdamWConfig()
_KERAS_ADAM = AdamWConfig.like("keras")
_OPTAX_ADAM = AdamWConfig.like("optax", weight_decay=0.0, nesterov=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class MuonConfig(UpdateConfig):
    """The settings of `Muon`.

    >>> MuonConfig.like("keras").scale
    'match_rms_adamw'
    """

    presets: ClassVar[Presets] = {
        "torch": {"lr": 1e-3, "weight_decay": 0.1, "exclude": ()},
        "optax": {
            "bias_correction": True,
            "eps": 1e-8,
            "eps_added": True,
            "outputs": "columns",
            "others": _OPTAX_ADAM,
            "one_lr": True,
            "exclude": (),
        },
        "keras": {
            "lr": 1e-3,
            "weight_decay": 0.004,
            "dampening": False,
            "eps_added": True,
            "scale": "match_rms_adamw",
            "others": _KERAS_ADAM,
            "one_lr": True,
            "exclude": ("*embedding*",),
        },
        "mlx": {
            "weight_decay": 0.01,
            "decay": "l2",
            "eps_added": True,
            "vectors": "momentum",
            "kernels": "flat_last",
            "exclude": (),
        },
        "burn": {"dampening": False, "exclude": ()},
    }

    lr: NonNegative = 0.02
    """How far each singular value moves in a step, with the scale `"original"`; as for AdamW with
    `"match_rms_adamw"`."""
    weight_decay: NonNegative = 0.0
    """How fast matrices are pulled towards 0; PyTorch's is 0.1."""
    decay: Decay = "decoupled"
    """`"decoupled"`; `"independent"` of lr; or `"l2"`, in the gradient."""
    momentum: DecayRate = 0.95
    """How much of the average of g is kept."""
    nesterov: bool = True
    """Average g into the step once more."""
    dampening: bool = True
    """Whether the momentum is an average or a sum: they have one direction, and differ by eps."""
    bias_correction: bool = False
    """Divide averages by what they can have gathered by now, as NAdam does."""
    steps: Annotated[int, Interval(0)] = 5
    """How many iterations bring the singular values to 1."""
    coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    """The polynomial of an iteration; the default's slope at 0 is as steep as can be."""
    eps: NonNegative = 1e-7
    """The least norm that a matrix is divided by at first, or square of one with `"schatten"` and
    `"aol"`."""
    eps_added: bool = False
    """Add eps to the norm instead of bounding it; not with `"schatten"` and `"aol"`."""
    preconditioning: Literal["frobenius", "spectral", "schatten", "aol"] = "frobenius"
    """What a matrix is divided by at first; see `born.fusion.orthogonalize`. With `"schatten"` and
    `"aol"` about one of the `steps` can be saved, `"spectral"` takes longer than it saves."""
    scale: Literal["original", "match_rms_adamw", "rms_to_rms", "none"] = "original"
    """What a step is multiplied by for its shape: √max(1, outputs / inputs); 0.2 · √max(outputs,
    inputs), with which learning rates of AdamW serve; √(outputs / inputs); or 1."""
    outputs: Literal["rows", "columns"] = "rows"
    """Which axis of a matrix counts its outputs: rows in born and PyTorch, columns in JAX."""
    vectors: Literal["others", "momentum"] = "others"
    """What becomes of vectors and single numbers: `others` sees to them, or they move by lr times
    the average."""
    kernels: Literal["others", "flat", "flat_last"] = "others"
    """What becomes of parameters of more than two axes: `others` sees to them; or they are
    matrices of their first axis by all others; or the same, with the scale of the last two axes."""
    exclude: tuple[str, ...] = ("*embed*", "*head*")
    """Patterns of names, in lower case, of what `others` sees to besides. A model that is a list,
    such as `nn.Sequential`, names its parameters by numbers: give those of its embedding and of its
    last layer, such as `("0.weight", "4.weight")`."""
    others: AdamWConfig = _ADAMW
    """The settings of AdamW for all other parameters; `maximize` and `state_dtype` are those of
    Muon wherever they are not its own."""
    one_lr: bool = False
    """Take lr for all other parameters too, in place of their own."""
    m_dtype: SlotDType = AUTO
    """The dtype of the average, such as `"bfloat16"`."""


def _averaged(
    g: V, m: V, momentum: float, t: int, nesterov: bool, dampening: bool, bias_correction: bool
) -> tuple[V, V]:
    """The average of gradients, and the direction that follows from it."""
    new = 1 - momentum if dampening else 1.0
    m = momentum * m + new * g
    if nesterov and bias_correction:
        ahead, now = 1 - momentum ** (t + 1), 1 - momentum**t
        return m, momentum / ahead * m + new / now * g
    if nesterov:
        return m, momentum * m + new * g
    return m, 1 / (1 - momentum**t) * m if bias_correction else m


def _factor(scale: str, out: Any, into: Any) -> Any:
    """What a step is multiplied by for the shape of its matrix."""
    if scale == "original":
        return sqrt(maximum(out / into, 1.0))
    return 0.2 * sqrt(maximum(out, into)) if scale == "match_rms_adamw" else sqrt(out / into)


@rule
def muon(
    p: V,
    g: V,
    m: V,
    *,
    lr: float,
    momentum: float,
    coefficient1: float,
    coefficient2: float,
    coefficient3: float,
    eps: float,
    t: int,
    nesterov: bool = True,
    dampening: bool = True,
    bias_correction: bool = False,
    iterations: str = "5",
    eps_added: bool = False,
    preconditioning: str = "frobenius",
    scale: str = "original",
    outputs: str = "rows",
    factor: float = 1.0,
) -> tuple[V, V]:
    """One update of Muon.

    >>> a, b, c = 1.5, -0.5, 0.0
    >>> scalars = {"coefficient1": a, "coefficient2": b, "coefficient3": c, "eps": 1e-7, "t": 1}
    >>> muon(1.0, 2.0, 0.0, lr=0.5, momentum=0.5, **scalars, scale="none")
    (0.5, 1.0)
    """
    m, step = _averaged(g, m, momentum, t, nesterov, dampening, bias_correction)
    coefficients = (coefficient1, coefficient2, coefficient3)
    of_norm = eps_added and preconditioning in ("frobenius", "spectral")
    least, added = (0.0, eps) if of_norm else (eps, 0.0)
    step = orthogonalize(step, int(iterations), coefficients, least, added, preconditioning)
    if scale == "none":
        return p - lr * step, m
    if scale == "given":
        return p - lr * factor * step, m
    sizes: Any = p  # a symbol knows the shape of its parameter
    out, into = sizes.rows, sizes.columns
    if outputs == "columns":
        out, into = into, out
    return p - lr * _factor(scale, out, into) * step, m


@rule
def momentum_of_vectors(
    p: V,
    g: V,
    m: V,
    *,
    lr: float,
    momentum: float,
    t: int,
    nesterov: bool = True,
    dampening: bool = True,
    bias_correction: bool = False,
) -> tuple[V, V]:
    """One update of what has no singular values.

    >>> momentum_of_vectors(1.0, 2.0, 0.0, lr=0.5, momentum=0.5, t=1)
    (0.25, 1.0)
    """
    m, step = _averaged(g, m, momentum, t, nesterov, dampening, bias_correction)
    return p - lr * step, m


class Muon(Optimizer[B, MuonConfig]):
    """Muon: momentum whose singular values are set to 1, for the matrices of a network.

    With the gradient g of a matrix::

        m ← momentum · m + (1 - momentum) · g
        u = (1 - momentum) · g + momentum · m          with nesterov, else m
        p ← p - lr · √max(1, rows / columns) · orthogonalize(u)

    Vectors, biases, and matrices whose names match `exclude`, such as embeddings and the last
    layer, are updated as by `AdamW`, with the config `others`: one optimizer, with one state. In a
    model whose layers have numbers for names, say which those are by one of these lines; the
    second gives settings of their own to those layers alone::

        optim.Muon(model, exclude=("0.*", "4.*"), others=optim.AdamWConfig(lr=3e-4))
        optim.Muon(model, groups=[optim.Group("[04].*", config=optim.AdamWConfig(lr=3e-4))])

    >>> matrix = nn.Parameter(born.tensor([[3.0, 4.0], [1.0, 2.0]], backend), "weight")
    >>> bias = nn.Parameter(born.zeros(2, backend), "bias")
    >>> optimizer = optim.Muon([matrix, bias], lr=0.1)
    >>> list(optimizer.state_dict())
    ['m.0', 'm.1', 'v.1', 't.0', 't.1']

    Where other libraries differ: PyTorch computes the same, with products in bfloat16, and refuses
    what is not a matrix. Optax corrects m as NAdam does (`bias_correction`) and counts outputs in
    columns. Keras and Burn sum instead of averaging (`dampening=False`); Keras scales steps to the
    size of AdamW's. MLX decays by the gradient (`decay="l2"`), moves vectors by their momentum
    (`vectors`), and flattens what has more axes (`kernels="flat_last"`). All but PyTorch and Burn
    add eps to the norm, and only Optax has another `preconditioning`. None excludes anything by its
    name, but Keras what is called an embedding: elsewhere users say what Muon is given.

    Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks"; Liu et
    al. (2025), "Muon is scalable for LLM training", for `"match_rms_adamw"`.
    """

    config_type = MuonConfig

    @classmethod
    @override
    def rule(cls, config: MuonConfig) -> Rule:
        return _rule(config)

    @classmethod
    @override
    def rule_for(cls, config: MuonConfig, parameter: Parameter[Any]) -> Rule:
        shape = parameter.shape
        if len(shape) < 2:
            return decayed(Rule.from_config(momentum_of_vectors, config), config)
        if len(shape) == 2 or config.kernels != "flat_last" or config.scale == "none":
            return _rule(config)
        out, into = shape[-2:] if config.outputs == "rows" else shape[:-3:-1]
        return _rule(config, scale="given", factor=_factor(config.scale, out, into))

    @classmethod
    @override
    def config_for(cls, config: MuonConfig, parameter: Parameter[Any]) -> Config:
        name, kinds = parameter.name.lower(), (config.vectors, config.vectors, "", config.kernels)
        excluded = any(fnmatchcase(name, pattern.lower()) for pattern in config.exclude)
        left = kinds[min(len(parameter.shape), 3)] == "others"
        return _others(config) if left or excluded else config


def _rule(config: MuonConfig, **values: Any) -> Rule:
    values = {"iterations": str(config.steps), "factor": 1.0, **values}
    rule = replace(Rule.from_config(muon, config, **values), by_unit=config.kernels != "others")
    return decayed(rule, config)


def _others(config: MuonConfig) -> AdamWConfig:
    """The config of what Muon does not see to."""
    others, changes = config.others, dict[str, Any]()
    if config.one_lr:
        changes["lr"] = config.lr
    if config.maximize:
        changes["maximize"] = True
    if others.state_dtype == AUTO and config.state_dtype != AUTO:
        changes["state_dtype"] = config.state_dtype
    return others.replace(**changes) if changes else others
