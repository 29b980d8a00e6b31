"""Every error that born raises on purpose.

Each derives from `BornError` and from the builtin that a Python programmer expects, so
both `except BornError` and `except ValueError` work. Each message states what was
expected, what arrived, and what to do; and if another function than the one that found the fault
was called, its name in parentheses.

    BornError                        Exception
      ShapeError                     ValueError
      DTypeError                     TypeError
      OperandError                   TypeError
      IndexOutOfRangeError           IndexError
      DomainError                    ValueError
      BackendMismatchError           TypeError
      BackendUnavailableError        RuntimeError
      MissingPackageError            ImportError
      OutOfMemoryError               MemoryError
      TapeError                      RuntimeError
      NonFiniteError                 FloatingPointError
      LinAlgError
      GradientError                  ValueError
      MissingGradientError           KeyError
      ConfigError                    ValueError
        ConfigTypeError              TypeError
      ParameterError                 ValueError
      StateDictError                 ValueError
      DataError                      RuntimeError
      ConvergenceError               RuntimeError
      CheckpointError                ValueError
        CheckpointNotFoundError      FileNotFoundError
        CheckpointCorruptError
        CheckpointVersionError
        CheckpointMismatchError
      CheckpointWriteError           OSError
      RuleError                      ValueError
      FormulaError                   ValueError
"""

from __future__ import annotations

import inspect
import re
from types import FrameType
from typing import Any, Final

import numpy.linalg

_NAMING: Final = (
    "born.creation",
    "born.nn",
    "born.ops",
    "born.random",
    "born.stats",
    "born.tensor",
)
"""The modules whose public functions and layers errors name."""


class BornError(Exception):
    """The root of born's errors."""

    def __init__(self, *args: Any) -> None:
        if args and isinstance(args[0], str):
            name = _called(inspect.currentframe())
            if name and not re.search(rf"\b{re.escape(name)}(?!\w)", args[0]):
                args = (f"{args[0]} (in {name})", *args[1:])
        super().__init__(*args)


def _called(frame: FrameType | None) -> str:
    """The function or layer that was called from outside of born, if it is one to name."""
    entry = None
    while frame is not None and _is_own(frame):
        entry, frame = frame, frame.f_back
    if entry is None or not entry.f_globals["__name__"].startswith(_NAMING):
        return ""
    owner, _, name = entry.f_code.co_qualname.rpartition(".")
    if name == "__call__":
        return type(entry.f_locals.get("self")).__name__
    return "" if name.startswith(("_", "<")) or "<" in owner else name


def _is_own(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))  # code that is run from a string may have none
    return name.startswith(("born.", "born_")) and frame.f_code.co_name != "<module>"


class ShapeError(BornError, ValueError):
    """Shapes or axes that do not fit the operation."""


class DTypeError(BornError, TypeError):
    """A dtype that the operation does not accept, or two dtypes that differ."""


class OperandError(BornError, TypeError):
    """An operand that is neither a tensor nor a Python number."""


class IndexOutOfRangeError(BornError, IndexError):
    """An index or a class label outside the axis that it points into."""


class DomainError(BornError, ValueError):
    """An argument outside the range on which the operation is defined."""


class BackendMismatchError(BornError, TypeError):
    """Tensors of two backends in one operation."""


class BackendUnavailableError(BornError, RuntimeError):
    """A backend that is unknown, not installed, or has no device here."""


class MissingPackageError(BornError, ImportError):
    """A function that another package computes, which is not installed or does not have it."""


class OutOfMemoryError(BornError, MemoryError):
    """An allocation for which a device has no room: bytes `requested`, and bytes `free`."""

    def __init__(self, message: str, requested: int = 0, free: int = 0) -> None:
        super().__init__(message)
        self.requested = requested
        self.free = free


class TapeError(BornError, RuntimeError):
    """A gradient asked of a tape that cannot give it."""


class NonFiniteError(BornError, FloatingPointError):
    """The first result that is NaN or infinite, though what it was computed from was finite.

    Args:
        message: all of the below in words.
        operation: what computed it.
        derivative_of: the operation whose derivative it belongs to; None in the forward pass.
        filename: of the code that called the operation, or for a derivative that one.
        line: in that file, from 1.
    """

    def __init__(
        self,
        message: str,
        operation: str = "",
        derivative_of: str | None = None,
        filename: str = "",
        line: int = 0,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.derivative_of = derivative_of
        self.filename = filename
        self.line = line


class LinAlgError(BornError, numpy.linalg.LinAlgError):
    """A matrix that has no such factorisation or solution; NumPy's error of the name, too."""


class GradientError(BornError, ValueError):
    """A gradient that does not fit the tensor it belongs to."""


class MissingGradientError(BornError, KeyError):
    """A lookup of a tensor that the loss does not depend on."""

    def __str__(self) -> str:
        """The message as it was written; `KeyError` would show its repr."""
        return str(self.args[0]) if self.args else ""


class ConfigError(BornError, ValueError):
    """A configuration value outside its range."""


class ConfigTypeError(ConfigError, TypeError):
    """A configuration value of the wrong type."""


class ParameterError(BornError, ValueError):
    """A list of parameters, or a module, that cannot be trained as it is."""


class StateDictError(BornError, ValueError):
    """A state dict whose entries do not fit what they are loaded into."""


class DataError(BornError, RuntimeError):
    """A loop over data that cannot go on from where it was."""


class ConvergenceError(BornError, RuntimeError):
    """A fit did not converge."""


class CheckpointError(BornError, ValueError):
    """A checkpoint that cannot be used; the subclasses say why."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No checkpoint at the path."""


class CheckpointCorruptError(CheckpointError):
    """A file that is not what was written: truncated, altered, or not a checkpoint."""


class CheckpointVersionError(CheckpointError):
    """A checkpoint written in a newer format than this version of born reads."""


class CheckpointMismatchError(CheckpointError):
    """A sound checkpoint of another model or another optimizer."""


class CheckpointWriteError(BornError, OSError):
    """A checkpoint that could not be written; the previous file is untouched."""


class RuleError(BornError, ValueError):
    """An update rule that cannot be traced, or does not return what it should."""


class FormulaError(BornError, ValueError):
    """A function that cannot be fused: it is not a formula of each element."""
