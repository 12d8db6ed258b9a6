"""What processes used, all together."""

from __future__ import annotations

from . import _native
from .figures import Seen

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime as _datetime
    from typing import Any, Dict, Optional


class Sample(Seen):
    """What the selected processes used at one moment and since the sample before. Frozen.

    By attribute, ``sample.io.write_bytes_per_sec``, or by dotted name,
    ``sample["io_counters.write_bytes_per_sec"]``; :func:`metrics` lists the names. A value
    that is unknown is None, never 0, and ``why`` says why. A Sample is a mapping: ``dict(sample)``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a Sample is made by show() and Sampler")

    @classmethod
    def _of(cls, row: Dict[str, Any], strict: bool) -> Sample:
        sample = cls.__new__(cls)
        sample._fill(row)
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
    def matched(self) -> int:
        """Processes that matched themselves."""
        matched: int = self._row["matched"]
        return matched

    @property
    def descendants(self) -> int:
        """Processes taken along as descendants of those that matched."""
        descendants: int = self._row["descendants"]
        return descendants

    def __hash__(self) -> int:
        return hash((self._row["unix_ns"], self._row["matched"]))

    # A class that says what is equal must say so beside its hash.
    __eq__ = Seen.__eq__

    def __repr__(self) -> str:
        return f"<Sample tier={self.tier} matched={self.matched} {self._known()}>"

    def __reduce__(self) -> Any:
        return (_restore, (self._row,))


def _restore(row: Dict[str, Any]) -> Sample:
    return Sample._of(row, strict=False)
