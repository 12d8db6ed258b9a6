"""Figures by attribute and by dotted name, and how far each can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import _native
from ._sections import Sections

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, NoReturn, Optional, Union

    #: A number in the metric's unit.
    _Number = Union[int, float]
    _Base = Mapping[str, Optional[_Number]]
else:
    _Base = Mapping


class Figures(Sections, _Base):
    """What processes used, all together. Frozen, and a mapping by dotted name.

    A value that is unknown is None, never 0, and ``why`` says why.
    """

    __slots__ = ("_row", "_values", "_marks", "_why")

    _row: Dict[str, Any]
    _values: Dict[str, Optional[_Number]]
    _marks: Dict[str, str]
    _why: Dict[str, str]

    def _fill(self, row: Dict[str, Any]) -> None:
        object.__setattr__(self, "_row", row)
        object.__setattr__(self, "_values", row["values"])
        object.__setattr__(self, "_marks", row["marks"])
        object.__setattr__(self, "_why", row["why"])

    @property
    def tier(self) -> str:
        """How ended processes were seen: ``A`` exact, ``B`` bounded, ``C`` estimate."""
        tier: str = self._row["tier"]
        return tier

    @property
    def lost(self) -> int:
        """Processes that ended in the interval without their last counters being found."""
        lost: int = self._row["lost"]
        return lost

    @property
    def marks(self) -> Mapping[str, str]:
        """What is not exact, by dotted name: ``"bound"``, ``"estimate"`` or ``"lower_bound"``."""
        return MappingProxyType(self._marks)

    @property
    def accuracy(self) -> Mapping[str, str]:
        """The same as ``marks``, by the name that it has in JSON."""
        return self.marks

    @property
    def why(self) -> Mapping[str, str]:
        """Why a value is unknown, by dotted name."""
        return MappingProxyType(self._why)

    def __getitem__(self, name: str) -> Optional[_Number]:
        try:
            return self._values[name]
        except (KeyError, TypeError):
            raise KeyError(_not_found(name)) from None

    def _number(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._row == other._row

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen: cannot set `{name}`")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen: cannot delete `{name}`")

    def _known(self) -> Dict[str, _Number]:
        return {name: value for name, value in self._values.items() if value}


class Seen(Figures):
    """Figures of processes that were seen by sweeps, and what is missing from them."""

    __slots__ = ()

    @property
    def lost_records(self) -> int:
        """Threads that ended in the interval and whose record never came, though the kernel
        wrote records: the tier is lower for as long."""
        count: int = self._row["lost_records"]
        return count

    @property
    def io_bound_bytes(self) -> int:
        """By how many bytes at most each I/O counter is too low: the kernel rounds the records of
        ended threads down at tier B."""
        count: int = self._row["io_bound_bytes"]
        return count

    @property
    def unattributed_io_bytes(self) -> int:
        """I/O bytes of the interval that may belong here or to another group, and are in none."""
        count: int = self._row["unattributed_io_bytes"]
        return count

    @property
    def unattributed_tcp_bytes(self) -> int:
        """Bytes over TCP connections that came and went in the interval, and whose is unknown."""
        count: int = self._row["unattributed_tcp_bytes"]
        return count

    @property
    def unreadable(self) -> int:
        """Processes of which something requested could not be read."""
        unreadable: int = self._row["unreadable"]
        return unreadable

    @property
    def undecided(self) -> int:
        """Processes that belong here or not: what decides it could not be read."""
        undecided: int = self._row["undecided"]
        return undecided

    @property
    def partial(self) -> bool:
        """Whether some processes could not be read whole, so that sums are lower bounds."""
        return bool(self.unreadable or self.undecided or self._row["is_hidden"])


def _not_found(name: object) -> str:
    if not isinstance(name, str):
        return f"expected the name of a metric, but found {type(name).__name__}"
    closest = _native.closest_metric(name)
    hint = f": did you mean `{closest}`?" if closest else ""
    return f"no metric is called `{name}`{hint}"
