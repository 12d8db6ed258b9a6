"""Looking for processes."""

from __future__ import annotations

from collections import namedtuple

from . import _native

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, NamedTuple, Union

    class _Process(NamedTuple):
        pid: int
        name: str
        uid: int
        matched: bool
else:
    _Process = namedtuple("_Process", ["pid", "name", "uid", "matched"])


class Process(_Process):
    """A process that was found, as a tuple with names.

    - ``pid``: its PID.
    - ``name``: its command name, at most 15 bytes, chosen by itself; bytes that are not UTF-8
      stand in it by surrogate escape.
    - ``uid``: the number of its effective user.
    - ``matched``: whether it matched itself; else it descends from one that did.
    """

    __slots__ = ()


def find(
    selector: Union[_native.Selector, str], *, children: bool = False, strict: bool = False
) -> List[Process]:
    """The processes that match now, ascending by PID.

    This process itself is never found, unless by its PID.

    :param selector: a :class:`Selector` or its text form, ``"name:nginx user:www-data"``.
    :param children: also find all descendants of those that match.
    :param strict: raise where some processes could not be decided, instead of leaving them out.
    :raises SelectorError: a selector that says nothing, or names a user that does not exist.
    :raises PermissionLimited: with `strict`: something that decides could not be read.
    :raises OSError: /proc cannot be read at all.

    Source: the files of ``/proc/PID`` that the selector asks about.
    """
    rows, undecided, is_hidden = _native.find(selector, children)
    if strict and (undecided or is_hidden):
        what = f"{undecided} processes could not be decided"
        raise _native.PermissionLimited(
            "this procfs hides the processes of others" if is_hidden else what
        )
    return [Process(*row) for row in rows]
