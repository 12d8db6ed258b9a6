"""What processes used, all together."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import _native
from ._sections import Sections

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime as _datetime
    from typing import Any, Dict, Iterator, NoReturn, Optional, Union

    #: A number in the metric's unit.
    _Number = Union[int, float]
    _Base = Mapping[str, Optional[_Number]]
else:
    _Base = Mapping


class Sample(Sections, _Base):
    """What the selected processes used at one moment and since the sample before. Frozen.

    By attribute, ``sample.io.write_bytes_per_sec``, or by dotted name,
    ``sample["io_counters.write_bytes_per_sec"]``; :func:`metrics` lists the names. A value
    that is unknown is None, never 0, and ``why`` says why. A Sample is a mapping: ``dict(sample)``.
    """

    __slots__ = ("_row", "_values", "_marks", "_why")

    _row: Dict[str, Any]
    _values: Dict[str, Optional[_Number]]
    _marks: Dict[str, str]
    _why: Dict[str, str]

    def __init__(self) -> None:
        raise TypeError("a Sample is made by show() and Sampler")

    @classmethod
    def _of(cls, row: Dict[str, Any], strict: bool) -> Sample:
        sample = cls.__new__(cls)
        object.__setattr__(sample, "_row", row)
        object.__setattr__(sample, "_values", row["values"])
        object.__setattr__(sample, "_marks", row["marks"])
        object.__setattr__(sample, "_why", row["why"])
        if strict and sample.partial:
            what = f"{sample.unreadable} of {sample.matched + sample.descendants} processes"
            if sample.undecided:
                some = "1 process" if sample.undecided == 1 else f"{sample.undecided} processes"
                what = f"what decides whether {some} should be here"
            if row["is_hidden"]:
                what = "the processes of other users, which this procfs hides,"
            raise _native.PermissionLimited(
                f"{what} could not be read whole; `mpp doctor` shows what is missing"
            )
        return sample

    @property
    def time(self) -> float:
        """When the sweep began: seconds since 1970, as ``time.time()``."""
        seconds: float = self._row["unix_ns"] / 1e9
        return seconds

    @property
    def datetime(self) -> _datetime.datetime:
        """When the sweep began, in UTC."""
        # Costly to import, and rarely needed.
        import datetime

        return datetime.datetime.fromtimestamp(self.time, datetime.timezone.utc)

    @property
    def interval(self) -> Optional[float]:
        """Seconds that the rates are over; None where there was one sweep only."""
        interval: Optional[float] = self._row["interval"]
        return interval

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
    def matched(self) -> int:
        """Processes that matched themselves."""
        matched: int = self._row["matched"]
        return matched

    @property
    def descendants(self) -> int:
        """Processes taken along as descendants of those that matched."""
        descendants: int = self._row["descendants"]
        return descendants

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

    @property
    def marks(self) -> Mapping[str, str]:
        """What is not exact, by dotted name: ``"estimate"`` or ``"lower_bound"``."""
        return MappingProxyType(self._marks)

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
        return isinstance(other, Sample) and self._row == other._row

    def __hash__(self) -> int:
        return hash((self._row["unix_ns"], self._row["matched"]))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Sample is frozen: cannot set `{name}`")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Sample is frozen: cannot delete `{name}`")

    def __repr__(self) -> str:
        known = {name: value for name, value in self._values.items() if value}
        return f"<Sample tier={self.tier} matched={self.matched} {known}>"

    def __reduce__(self) -> Any:
        return (_restore, (self._row,))


def _restore(row: Dict[str, Any]) -> Sample:
    return Sample._of(row, strict=False)


def _not_found(name: object) -> str:
    if not isinstance(name, str):
        return f"expected the name of a metric, but found {type(name).__name__}"
    closest = _native.closest_metric(name)
    hint = f": did you mean `{closest}`?" if closest else ""
    return f"no metric is called `{name}`{hint}"
