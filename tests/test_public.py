"""The public surface: it is all there, it is all documented, and every error is tested."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import born
from born import errors
from tests.tools import ROOT, output_of

FACES = (
    "born",
    "born.autodiff",
    "born.backend",
    "born.checkpoint",
    "born.data",
    "born.errors",
    "born.nn",
    "born.ops",
    "born.ops.special",
    "born.optim",
    "born.plot",
    "born.optim.schedules",
    "born.random",
    "born.stats",
    "born_numpy",
)
"""The modules that a user imports from."""

SURFACE = {
    "born": "RawTensor Tensor arange available_backends eye full get_backend ones rand randn"
    " progress tensor from_dlpack zeros",
    "born.autodiff": "Autodiff Gradients Tape backward check_gradients checkpointed custom_vjp"
    " detect_nonfinite grad hessian hessian_diagonal hvp implicit jacobian jvp"
    " per_example_gradients scan stop_gradient value_and_grad vjp",
    "born.backend": "ArrayBackend Backend available_backends get_backend",
    "born.checkpoint": "CheckpointWarning PartialLoad Store from_torch load load_weights save"
    " to_torch verify",
    "born.data": "DataLoader prefetch",
    "born.nn": "AdaptiveAvgPool1d AdaptiveAvgPool2d AvgPool1d AvgPool2d BatchNorm1d BatchNorm2d"
    " Buffer Conv1d Conv2d ConvTranspose2d Dropout Embedding Flatten GRU GroupNorm InstanceNorm2d"
    " LSTM LayerNorm Linear MaxPool1d MaxPool2d Module Parameter RMSNorm RNN ReLU Sequential"
    " MultiHeadAttention GRUCell LSTMCell RNNCell ConvTranspose1d AdaptiveMaxPool1d"
    " AdaptiveMaxPool2d PixelShuffle PixelUnshuffle InstanceNorm1d Dropout1d Dropout2d Identity"
    " Lambda Unflatten ELU GLU Hardsigmoid Hardswish Hardtanh LogSigmoid Mish PReLU SELU Softsign"
    " binary_cross_entropy gaussian_nll_loss poisson_nll_loss margin_ranking_loss"
    " cosine_embedding_loss Upsample accuracy binary_cross_entropy_with_logits"
    " cosine_similarity cross_entropy ctc_loss"
    " huber_loss kl_div l1_loss mse_loss nll_loss smooth_l1_loss triplet_margin_loss",
    "born.optim": "Adam AdamConfig BFGS Box Config Dogleg GaussNewton LBFGS LevenbergMarquardt"
    " Group LossScale Monotonic NewtonCG NonNegative NonlinearCG OptimizeResult Optimizer"
    " Precision SGD SGDConfig Simplex UnitNorm accumulated averaged centralized clip_step clipped"
    " covariance curve_fit layerwise lookahead projected warm_state"
    " least_squares minimize projections schedules sharpness_aware",
    "born.optim.schedules": "Constant Cosine Exponential InverseSqrt Linear MultiStep OneCycle"
    " Piecewise Plateau Polynomial Product Schedule Sequence Step WarmupStableDecay plot text",
    "born.random": "bernoulli beta categorical choice dirichlet exponential gamma laplace"
    " multinomial normal permutation poisson truncated_normal uniform",
    "born.stats": "bernoulli beta binom categorical cauchy chi2 dirichlet expon gamma laplace"
    " multinomial multivariate_normal nbinom norm poisson t uniform",
    "born_numpy": "NumpyBackend",
}
"""Names that programs may rely on."""

MEMBERS = {
    "born.RawTensor": "array device dtype nbytes shape",
    "born.Tensor": "__dlpack__ backend backward device dtype item numpy raw requires_grad shape to",
    "born.autodiff.Autodiff": "tape",
    "born.checkpoint.Store": "best close latest restore save wait",
    "born.data.DataLoader": "__iter__ __len__ batch epoch load_state_dict state_dict",
    "born.autodiff.Gradients": "__add__ __getitem__ __iter__ __len__ __mul__ __rmul__ get",
    "born.autodiff.Tape": "__enter__ __exit__ __len__ clear is_recording start_recording"
    " stop_recording",
    "born.nn.Module": "eval load_state_dict named_parameters named_state parameters state_dict to"
    " train",
    "born.nn.Parameter": "grad name raw tensor zero_grad",
    "born.optim.Optimizer": "add_group explain faults groups load_state_dict lr state_dict"
    " step timestep to weights zero_grad",
    "born.optim.StepReport": "applied clip_factor grad_norm lr missing nonfinite param_norm step"
    " to_dict update_norm update_ratio watched",
}
"""Members of classes that programs may rely on."""

PACKAGES = (ROOT / "born", ROOT / "backends")


def _sources(*folders: Path) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def _public_names(module: ModuleType) -> list[str]:
    """`__all__`; else the names re-exported as `X as X`, and the classes and functions defined."""
    listed: list[str] | None = getattr(module, "__all__", None)
    if listed is not None:
        return listed
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    exported = [
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]
    defined = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not any("overload" in _named(mark) for mark in node.decorator_list)
    ]
    return [name for name in exported + defined if not name.startswith("_")]


def _public(face: str) -> Iterator[tuple[str, Any]]:
    """The classes and functions of a face, by path; aliases of types have no docstring to read."""
    module = importlib.import_module(face)
    for name in _public_names(module):
        value = getattr(module, name)
        if value is not Any and (inspect.isclass(value) or inspect.isroutine(value)):
            yield f"{face}.{name}", value


def _resolve(path: str) -> Any:
    face, _, name = path.rpartition(".")
    return getattr(importlib.import_module(face), name)


# -- the surface is there --------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
def test_face_has_a_docstring_and_unique_names(face: str) -> None:
    module = importlib.import_module(face)
    assert inspect.getdoc(module)
    names = _public_names(module)
    assert names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("face", SURFACE)
def test_design_names_are_public(face: str) -> None:
    names = set(_public_names(importlib.import_module(face)))
    assert set(SURFACE[face].split()) - names == set()


@pytest.mark.parametrize("path", MEMBERS)
def test_design_members_exist(path: str) -> None:
    value = _resolve(path)
    members = set(dir(value)) | set(getattr(value, "__annotations__", ()))
    assert set(MEMBERS[path].split()) - members == set()


# -- and documented --------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_has_a_docstring(face: str) -> None:
    missing = [path for path, value in _public(face) if not value.__doc__]
    assert missing == []


@pytest.mark.parametrize("face", [face for face in FACES if face != "born.errors"])
def test_every_public_name_shows_an_example(face: str) -> None:
    missing = [path for path, value in _public(face) if ">>>" not in (value.__doc__ or "")]
    assert missing == []


def _undocumented(node: ast.AST, path: str) -> Iterator[str]:
    """The public classes and functions inside of `node` that have no docstring."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef) or child.name.startswith("_"):
            continue
        # What such a definition does is said where it is declared, implemented or read.
        marks = {name for mark in child.decorator_list for name in _named(mark)}
        elsewhere = marks & {"overload", "override", "setter"}
        if not elsewhere and not ast.get_docstring(child):
            yield f"{path}:{child.lineno} {child.name}"
        if isinstance(child, ast.ClassDef):
            yield from _undocumented(child, path)


def test_every_definition_without_an_underscore_has_a_docstring() -> None:
    missing = [
        found
        for path, tree in _sources(*PACKAGES)
        for found in _undocumented(tree, path.relative_to(ROOT).as_posix())
    ]
    assert missing == []


# -- and every error is raised somewhere, and tested -------------------------------------


def _error_classes() -> dict[str, type[Exception]]:
    return {name: getattr(errors, name) for name in _public_names(errors)}


def _named(node: ast.AST | None) -> set[str]:
    """The last part of every name in an expression: `X` in `X`, `errors.X` and `(X, Y)`."""
    names: set[str] = set()
    for part in ast.walk(node) if node is not None else ():
        if isinstance(part, ast.Name):
            names.add(part.id)
        elif isinstance(part, ast.Attribute):
            names.add(part.attr)
    return names


def _made_in(tree: ast.Module) -> set[str]:
    """The classes that a module calls: an error is made before it is raised."""
    return {
        name for node in ast.walk(tree) if isinstance(node, ast.Call) for name in _named(node.func)
    }


def _expected_in(tree: ast.Module) -> set[str]:
    """The classes that a test module hands to `pytest.raises`, itself or in a table of cases."""
    calls = {
        name for node in ast.walk(tree) if isinstance(node, ast.Call) for name in _named(node.func)
    }
    return _named(tree) if "raises" in calls else set()


def test_errors_derive_from_born_error_and_a_builtin() -> None:
    for name, error in _error_classes().items():
        assert issubclass(error, errors.BornError), name
        if error is not errors.BornError:
            builtin = [base for base in error.__bases__ if base.__module__ == "builtins"]
            assert builtin or issubclass(error.__bases__[0], errors.BornError), name
            assert builtin != [Exception], name


def test_every_error_is_raised() -> None:
    classes = _error_classes()
    made = {name for _, tree in _sources(*PACKAGES) for name in _made_in(tree)}
    bases = {base.__name__ for error in classes.values() for base in error.__mro__[1:]}
    assert set(classes) - made - bases == set()


def test_every_error_is_tested() -> None:
    expected = {name for _, tree in _sources(ROOT / "tests") for name in _expected_in(tree)}
    # The root is what users catch, not what born raises.
    assert set(_error_classes()) - expected - {"BornError"} == set()


def test_packages_are_attributes_of_born() -> None:
    code = "import born; print(*(getattr(born, name).__name__ for name in born._PACKAGES))"
    packages = [face for face in FACES if face.count(".") == 1 and face.startswith("born.")]
    found = output_of([sys.executable, "-c", code]).split()
    assert set(packages) - {"born.backend", "born.plot"} <= set(found)
    assert {name.partition(".")[2] for name in found} <= set(dir(born))
    with pytest.raises(AttributeError, match=r"^module 'born' has no attribute 'optimm'$"):
        _ = getattr(born, "optim" + "m")
