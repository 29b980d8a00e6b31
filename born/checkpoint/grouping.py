"""The groups of an optimizer in a file, and the parameters here that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from born.checkpoint.document import SavedGroup, SavedOptimizer
from born.optim import Group, Optimizer


def restored_groups(
    optimizer: Optimizer[Any], saved: SavedOptimizer, pairs: Mapping[int, int]
) -> list[Group] | None:
    """The groups that an optimizer takes from a file; None, to keep its own, if it tells of none.

    Parameters that the file does not know stay in the group that they are in.

    Args:
        optimizer: what is loaded.
        saved: what the file says of it.
        pairs: the index of each parameter that the file knows -> its index there.
    """
    if saved.groups is None:
        return None
    groups: list[Group] = []
    for number, each in enumerate(saved.groups):
        theirs = set(each.members)
        members = [index for index, other in pairs.items() if other in theirs]
        if members:
            like = optimizer.groups[number] if number < len(optimizer.groups) else None
            groups.append(_restored(optimizer, each, members, like))
    for group, own in zip(optimizer.groups, optimizer.group_members, strict=True):
        unknown = [optimizer.parameters[index] for index in own if index not in pairs]
        if len(unknown) == len(own):
            groups.append(group)
        elif unknown:
            groups.append(group.replace(select=unknown))
    return groups


def _restored(
    optimizer: Optimizer[Any], saved: SavedGroup, members: list[int], like: Group | None
) -> Group:
    """A group, with a pattern or function that selects the same parameters here if there is one."""
    pattern = saved.settings["select"]
    selects = [] if pattern is None else [pattern]
    if like is not None:
        selects.append(like.select)
    parameters = optimizer.parameters
    for select in selects:
        group = Group.from_json(saved.settings, select, like)
        if [i for i, p in enumerate(parameters) if group.holds(p.name, p)] == members:
            return group
    return Group.from_json(saved.settings, [parameters[index] for index in members], like)
