"""Reverse-mode differentiation over any backend: `Autodiff` records, `backward` walks the tape.

`grad`, `value_and_grad` and `hvp` do both as functions of functions.
"""

from born.autodiff.autodiff import Autodiff as Autodiff
from born.autodiff.checks import check_gradients as check_gradients
from born.autodiff.custom import checkpointed as checkpointed
from born.autodiff.custom import custom_vjp as custom_vjp
from born.autodiff.gradients import Gradients as Gradients
from born.autodiff.gradients import backward as backward
from born.autodiff.implicit import implicit as implicit
from born.autodiff.jacobians import hessian as hessian
from born.autodiff.jacobians import hessian_diagonal as hessian_diagonal
from born.autodiff.jacobians import hvp as hvp
from born.autodiff.jacobians import jacobian as jacobian
from born.autodiff.jacobians import jvp as jvp
from born.autodiff.jacobians import vjp as vjp
from born.autodiff.scan import scan as scan
from born.autodiff.tape import Tape as Tape
from born.autodiff.transforms import grad as grad
from born.autodiff.transforms import per_example_gradients as per_example_gradients
from born.autodiff.transforms import stop_gradient as stop_gradient
from born.autodiff.transforms import value_and_grad as value_and_grad

# What `help` lists; from a package it shows none of what other modules define otherwise.
__all__ = [name for name, value in list(globals().items()) if callable(value)]  # pyright: ignore[reportUnsupportedDunderAll]  # it stays right by itself
