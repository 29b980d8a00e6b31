"""`save` and `load`: the state of a training run in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from born.backend import B, Backend
from born.checkpoint import format as file_format
from born.checkpoint.format import Contents
from born.errors import (
    BackendMismatchError,
    BornError,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    ConfigError,
    OperandError,
)
from born.nn import Module
from born.optim import Optimizer
from born.raw import HostArray, RawTensor
from born.validation import mismatch_text

_MODEL: Final = "model."
_OPTIMIZER: Final = "optimizer."


def save(
    path: str | os.PathLike[str],
    *,
    model: Module[B] | None = None,
    optimizer: Optimizer[B] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write all that is needed to resume training, to the bit, into one file.

    That is the model's parameters, the optimizer's state and config (with the current
    learning rate), and the random state of their backend. The file is a safetensors
    file with a checksum for each tensor and one for everything else. It is written
    beside `path`, flushed to the disk and then renamed: a crash, or a full disk,
    leaves the previous file as it was.

    Args:
        path: the file, which is replaced if it exists.
        model: saved as `model.{path}` for each entry of its `state_dict`.
        optimizer: saved as `optimizer.{key}` for each entry of its `state_dict`.
        metadata: your own, as JSON types (tuples come back as lists); `load` returns it.

    Raises:
        CheckpointError: the metadata is not JSON; nothing was written.
        BackendMismatchError: the model and the optimizer are on two backends.
        CheckpointWriteError: the file cannot be written; a previous one is untouched.

    >>> import tempfile
    >>> model = nn.Linear(2, 1, backend)
    >>> optimizer = optim.Adam(model.parameters(), optim.AdamConfig())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/run.safetensors"
    ...     checkpoint.save(path, model=model, optimizer=optimizer, metadata={"epoch": 3})
    ...     checkpoint.load(path, model=model, optimizer=optimizer)
    {'epoch': 3}
    """
    file_path = _path(path)
    _check_kinds(model, optimizer)
    json_metadata = _json({} if metadata is None else metadata)
    backend = _common_backend(model, optimizer)
    state: dict[str, RawTensor] = {}
    for prefix, part in ((_MODEL, model), (_OPTIMIZER, optimizer)):
        if part is not None:
            state |= {prefix + key: raw for key, raw in part.state_dict().items()}
    arrays: dict[str, HostArray] = {}
    if backend is not None:
        # Each snapshot is dropped once it is on the host, so that there is only one copy.
        arrays = {name: backend.to_numpy(state.pop(name)) for name in list(state)}
    document: dict[str, Any] = {
        "model": None if model is None else {"type": type(model).__name__},
        "optimizer": None,
        "random_state": None if backend is None else backend.random_state,
        "metadata": json_metadata,
    }
    if optimizer is not None:
        document["optimizer"] = {
            "type": type(optimizer).__name__,
            "config": optimizer.config.to_json(),
            "parameters": _paths(model, optimizer),
        }
    file_format.write(file_path, arrays, document)


def load(
    path: str | os.PathLike[str],
    *,
    model: Module[B] | None = None,
    optimizer: Optimizer[B] | None = None,
) -> dict[str, Any]:
    """Resume from a file that `save` wrote: all that is asked for is restored, or nothing.

    The values are written into existing parameters and buffers, so references to them
    stay valid. The optimizer takes the config that it was saved with, learning rate
    included: set `optimizer.lr` afterwards to use another. The backend's random state is
    restored only if everything in the file is asked for: to take only the model is to
    start something new.

    Args:
        path: the file.
        model: takes the parameters; without it, they stay in the file.
        optimizer: takes the state and the config; without it, they stay in the file.

    Returns:
        The caller's own metadata, as JSON types.

    Raises:
        CheckpointNotFoundError: there is no file.
        CheckpointCorruptError: it differs from what `save` wrote, be it in a single bit.
        CheckpointVersionError: it was written by a newer version of born.
        CheckpointMismatchError: the model or the optimizer in it is missing, or does not
            match the one given. The message lists every mismatch.

        On an error, nothing has changed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/notes.safetensors", metadata={"shape": (2, 3)})
    ...     load(f"{folder}/notes.safetensors")
    {'shape': [2, 3]}
    """
    _check_kinds(model, optimizer)
    backend = _common_backend(model, optimizer)
    parts = {"model": model, "optimizer": optimizer}
    asked = [name for name, part in parts.items() if part is not None]
    contents = file_format.read(_path(path), lambda name: name.split(".")[0] in asked)
    saved = contents.document
    if not _is_document(saved):
        raise CheckpointCorruptError(
            f"{path}: expected a checkpoint as it was written, got a header with entries of "
            "another kind; use another copy or an earlier checkpoint"
        )
    whole = all(saved[name] is None or name in asked for name in parts)
    random_state = saved["random_state"] if whole else None
    absent = [name for name in asked if saved[name] is None]
    mismatches = [
        f"{name}: expected one, got a checkpoint that was saved without the {name}"
        for name in absent
    ]
    if model is not None and "model" not in absent:
        lines = model.check_state_dict(_part(contents, _MODEL))
        mismatches += [f"model: {line}" for line in lines]
    if optimizer is not None and "optimizer" not in absent:
        lines = _optimizer_mismatches(model, optimizer, contents)
        mismatches += [f"optimizer: {line}" for line in lines]
    if backend is not None and random_state is not None:
        try:
            backend.check_random_state(random_state)
        except BornError as error:
            mismatches.append(f"random state: {error}")
    if mismatches:
        expected = f"a checkpoint of this {' and this '.join(asked)}"
        made = "both as they were" if len(asked) > 1 else "it as it was"
        remedy = f"make {made} made when it was saved, nothing was changed"
        raise CheckpointMismatchError(f"{path}: {mismatch_text(expected, mismatches, remedy)}")
    if model is not None:
        model.load_state_dict(_part(contents, _MODEL))
    if optimizer is not None:
        optimizer.config = optimizer.config_type.from_json(
            saved["optimizer"]["config"], like=optimizer.config
        )
        optimizer.load_state_dict(_part(contents, _OPTIMIZER))
    if backend is not None and random_state is not None:
        backend.set_random_state(random_state)
    metadata: dict[str, Any] = saved["metadata"]
    return metadata


def _optimizer_mismatches(
    model: Module[B] | None, optimizer: Optimizer[B], contents: Contents
) -> list[str]:
    saved = contents.document["optimizer"]
    kind = type(optimizer).__name__
    if saved["type"] != kind:
        return [f"expected {kind}, got the state of {saved['type']}"]
    lines = optimizer.check_state_dict(_part(contents, _OPTIMIZER))
    try:
        config = optimizer.config_type.from_json(saved["config"], like=optimizer.config)
        lines += optimizer.check_config(config)
    except ConfigError as error:
        lines.append(str(error))
    # Parameters of no module have no names, only an order.
    pairs = zip(_paths(model, optimizer), saved["parameters"], strict=False)
    lines += [
        f"parameter {index}: expected {here!r}, got the state of {there!r}"
        for index, (here, there) in enumerate(pairs)
        if here != there and here and there
    ]
    return lines


def _is_document(saved: Mapping[str, Any]) -> bool:
    """Whether what was saved beside the tensors has the entries that `save` writes."""
    if not {"model", "optimizer", "random_state", "metadata"} <= saved.keys():
        return False
    optimizer: Any = saved["optimizer"]
    if not isinstance(saved["metadata"], dict) or not isinstance(optimizer, dict | None):
        return False
    if optimizer is None:
        return True
    entries = cast("dict[str, Any]", optimizer)
    return (
        isinstance(entries.get("config"), dict)
        and isinstance(entries.get("parameters"), list)
        and "type" in entries
    )


def _part(contents: Contents, prefix: str) -> dict[str, HostArray]:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in contents.arrays.items()
        if name.startswith(prefix)
    }


def _path(path: object) -> Path:
    """The path of a file."""
    if not isinstance(path, str | os.PathLike):
        raise OperandError(
            f"expected the path of a checkpoint as a str or Path, got {path!r}; pass the file"
        )
    return Path(cast("str | os.PathLike[str]", path))


def _check_kinds(model: object, optimizer: object) -> None:
    """Refuse what is not a module or an optimizer, before anything is read or written."""
    for given, kind, word in ((model, Module, "model"), (optimizer, Optimizer, "optimizer")):
        if given is not None and not isinstance(given, kind):
            raise OperandError(
                f"expected {word} to be an {kind.__module__.split('.')[1]}.{kind.__name__}, got "
                f"{type(given).__name__}; pass the {word} itself"
            )


def _paths(model: Module[B] | None, optimizer: Optimizer[B]) -> list[str]:
    """The path in the model of each parameter of the optimizer; its name if it has no path."""
    paths = {} if model is None else {p.raw: path for path, p in model.named_parameters()}
    return [paths.get(p.raw, p.name) for p in optimizer.parameters]


def _common_backend(model: Module[B] | None, optimizer: Optimizer[B] | None) -> Backend | None:
    """The one backend that computes for both, or None if there are no parameters."""
    parameters = [] if model is None else list(model.parameters())
    if optimizer is not None:
        parameters += optimizer.parameters
    backends = {id(inner): inner for inner in (p.backend.innermost for p in parameters)}
    if len(backends) > 1:
        raise BackendMismatchError(
            f"expected the model and the optimizer on one backend, whose random state belongs to "
            f"the checkpoint, got {', '.join(map(repr, backends.values()))}; "
            "make them on the same backend object"
        )
    return next(iter(backends.values()), None)


def _json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as JSON gives it back."""
    if not isinstance(cast("object", metadata), Mapping):
        raise CheckpointError(
            f"expected metadata as a mapping of JSON types, got {type(metadata).__name__}; "
            "pass a dict"
        )
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except RecursionError as error:
        raise CheckpointError(
            "expected metadata of JSON types, got one nested too deeply, or in a circle; flatten it"
        ) from error
    except (TypeError, ValueError) as error:
        if "Out of range float" in str(error):
            raise CheckpointError(
                f"expected finite numbers in metadata, got infinity or NaN, which JSON does not "
                f"have: {error}; save it as a string, str(value), or as None"
            ) from error
        raise CheckpointError(
            f"expected metadata of JSON types (dict, list, str, int, float, bool, None), got "
            f"something else: {error}; convert arrays with .tolist(), NumPy numbers with "
            ".item() and the rest to strings"
        ) from error
    for place in _other_keys(metadata, "metadata"):
        raise CheckpointError(
            f"expected strings as the keys of metadata, got {place}, which JSON would turn "
            "into a string; use str(key)"
        )
    return copied


def _other_keys(value: object, place: str) -> Iterator[str]:
    """Where keys lie that are not strings."""
    items: Iterable[tuple[object, object]]
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        yield from (f"{place}[{key!r}]" for key, _ in items if not isinstance(key, str))
    elif isinstance(value, list | tuple):
        items = enumerate(cast("list[object] | tuple[object, ...]", value))
    else:
        return
    for key, item in items:
        yield from _other_keys(item, f"{place}[{key!r}]")
