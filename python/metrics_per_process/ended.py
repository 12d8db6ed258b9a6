"""Processes that ended, one by one."""

from __future__ import annotations

import time
from collections import deque
from types import MappingProxyType

from . import _native

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Dict, List, Mapping, NoReturn, Optional, Type, Union, overload

    _Selector = Union[_native.Selector, str]
    _Number = Union[int, float]
else:

    def overload(function):
        return function


#: In a storm of short processes the kernel has no room for more.
_LISTEN_EVERY = 0.25


class Ended:
    """A process that ended: who it was, how it ended, what it did itself in its whole life. Frozen.

    By attribute, ``ended.write_bytes``, or by dotted name,
    ``ended["io_counters.write_bytes"]``. A figure that is unknown is None, never 0, and
    ``why`` says why; ``marks`` says what is not exact. Children are left out.
    """

    __slots__ = ("_row",)

    _row: Dict[str, Any]

    def __init__(self) -> None:
        raise TypeError("an Ended is made by ended()")

    @classmethod
    def _of(cls, row: Dict[str, Any]) -> Ended:
        ended = cls.__new__(cls)
        object.__setattr__(ended, "_row", row)
        return ended

    @property
    def pid(self) -> int:
        """Its PID, which another process may bear by now."""
        pid: int = self._row["pid"]
        return pid

    @property
    def name(self) -> str:
        """Its command name in the end, at most 15 bytes, chosen by itself; bytes that are not
        UTF-8 stand in it by surrogate escape."""
        name: str = self._row["name"]
        return name

    @property
    def uid(self) -> int:
        """The number of its effective user."""
        uid: int = self._row["uid"]
        return uid

    @property
    def user(self) -> Optional[str]:
        """The name of that user; None where it has none."""
        user: Optional[str] = self._row["user"]
        return user

    @property
    def parent_pid(self) -> int:
        """Its parent in the end; 0 where that is out of sight."""
        pid: int = self._row["parent_pid"]
        return pid

    @property
    def parent_name(self) -> Optional[str]:
        """The command name of the parent, where it is known."""
        name: Optional[str] = self._row["parent_name"]
        return name

    @property
    def matched(self) -> bool:
        """Whether it matched itself; else it descended from one that did."""
        matched: bool = self._row["matched"]
        return matched

    @property
    def cmdline(self) -> Optional[List[str]]:
        """Its arguments, with ``cmdline=True``; None where they are unknown."""
        cmdline: Optional[List[str]] = self._row["cmdline"]
        return None if cmdline is None else list(cmdline)

    @property
    def started(self) -> float:
        """When it began: seconds since 1970, as ``time.time()``."""
        seconds: float = self._row["started_ns"] / 1e9
        return seconds

    @property
    def ended(self) -> float:
        """When it ended, at the latest: seconds since 1970."""
        seconds: float = self._row["ended_ns"] / 1e9
        return seconds

    @property
    def ended_within(self) -> float:
        """By how many seconds earlier it may have ended; 0 where the moment is known."""
        seconds: float = self._row["ended_within"]
        return seconds

    @property
    def status(self) -> Optional[int]:
        """What it exited with; None where a signal ended it, or nobody told."""
        status: Optional[int] = self._row["status"]
        return status

    @property
    def signal(self) -> Optional[int]:
        """The number of the signal that ended it; None where it exited, or nobody told."""
        signal: Optional[int] = self._row["signal"]
        return signal

    @property
    def core_dumped(self) -> Optional[bool]:
        """Whether the signal was one with a core dump; None where nobody told."""
        fact: Optional[bool] = self._row["core_dumped"]
        return fact

    @property
    def failed(self) -> Optional[bool]:
        """Whether it exited with a number other than 0, or by a signal; None where nobody told."""
        fact: Optional[bool] = self._row["failed"]
        return fact

    @property
    def tier(self) -> str:
        """How its end was seen: ``A`` exact, ``B`` bounded, ``C`` estimate."""
        tier: str = self._row["tier"]
        return tier

    @property
    def io_bound_bytes(self) -> int:
        """By how many bytes at most each figure of I/O is too low, for records that are rounded."""
        count: int = self._row["io_bound_bytes"]
        return count

    @property
    def uptime(self) -> Optional[float]:
        """Seconds that it lived."""
        return self._float("uptime")

    @property
    def cpu_user(self) -> Optional[float]:
        """Seconds of CPU time in user mode."""
        return self._float("cpu.user")

    @property
    def cpu_system(self) -> Optional[float]:
        """Seconds of CPU time in kernel mode."""
        return self._float("cpu.system")

    @property
    def memory_peak(self) -> Optional[int]:
        """The most memory, in bytes, that it ever had resident itself."""
        return self._int("memory.peak")

    @property
    def read_bytes(self) -> Optional[int]:
        """Bytes fetched from storage."""
        return self._int("io_counters.read_bytes")

    @property
    def write_bytes(self) -> Optional[int]:
        """Bytes to be sent to storage."""
        return self._int("io_counters.write_bytes")

    @property
    def read_chars(self) -> Optional[int]:
        """Bytes handed out by read(2) and its like."""
        return self._int("io_counters.read_chars")

    @property
    def write_chars(self) -> Optional[int]:
        """Bytes taken in by write(2) and its like."""
        return self._int("io_counters.write_chars")

    @property
    def marks(self) -> Mapping[str, str]:
        """What is not exact, by dotted name: ``estimate``, ``bound`` or ``lower_bound``."""
        return MappingProxyType(self._row["marks"])

    @property
    def why(self) -> Mapping[str, str]:
        """Why a figure is unknown, by dotted name."""
        return MappingProxyType(self._row["why"])

    def __getitem__(self, name: str) -> Optional[_Number]:
        values: Dict[str, Optional[_Number]] = self._row["values"]
        if name not in values:
            names = ", ".join(values)
            raise KeyError(f"an Ended has no `{name}`; it has {names}")
        return values[name]

    def _int(self, name: str) -> Optional[int]:
        value: Optional[int] = self._row["values"][name]
        return value

    def _float(self, name: str) -> Optional[float]:
        value: Optional[float] = self._row["values"][name]
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ended) and self._row == other._row

    def __hash__(self) -> int:
        return hash((self.pid, self._row["started_ns"]))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an Ended is frozen: cannot set `{name}`")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an Ended is frozen: cannot delete `{name}`")

    def __repr__(self) -> str:
        end = f"signal={self.signal}" if self.signal is not None else f"status={self.status}"
        return f"<Ended {self.pid} {self.name!r} {end} tier={self.tier}>"

    def __reduce__(self) -> Any:
        return (Ended._of, (self._row,))


class EndedStream:
    """Processes as they end, as an iterator; made by :func:`ended`.

    Usable from several threads, one after the other; a forked child needs a new one.
    """

    def __init__(
        self,
        selector: Optional[_Selector],
        interval: float,
        cmdline: bool,
        tier: Optional[str],
    ) -> None:
        self._interval = _native.interval_seconds(interval)
        if self._interval <= 0:
            raise ValueError("interval: expected seconds above 0, but found 0")
        ends = "cmdlines" if cmdline else "names"
        self._monitor = _native.Monitor(selector, "processes.total", tier, ends)
        self._waiting: deque[Ended] = deque()
        self._losses = {"shed": 0, "lost_records": 0, "spilled_records": 0}
        self._tier = "A"
        self._is_closed = False
        self._due = time.monotonic()
        # Who has ended by now has not ended meanwhile.
        self._monitor.ended()

    @property
    def tier(self) -> str:
        """The worst tier so far: ``A`` exact, ``B`` bounded, ``C`` estimate."""
        return self._tier

    @property
    def lost(self) -> int:
        """How many more may have ended: left out for want of room, or their records lost."""
        return sum(self._losses.values())

    def __iter__(self) -> EndedStream:
        return self

    def __next__(self) -> Ended:
        while not self._waiting:
            if self._is_closed:
                raise StopIteration
            self._wait()
            self._look()
        return self._waiting.popleft()

    def __enter__(self) -> EndedStream:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets everything go; iteration ends. Closing twice does nothing."""
        self._is_closed = True
        self._waiting.clear()
        self._monitor.close()

    def _collect(self, seconds: float) -> List[Ended]:
        """All that end within so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._wait(end)
            self._look()
        return list(self._waiting)

    def _wait(self, end: Optional[float] = None) -> None:
        """Sleeps until it is time to look, and takes in meanwhile what is told."""
        self._due = max(self._due + self._interval, time.monotonic())
        due = self._due if end is None else min(self._due, end)
        while True:
            left = due - time.monotonic()
            if left <= 0 or self._is_closed:
                return
            time.sleep(min(left, _LISTEN_EVERY))
            if left > _LISTEN_EVERY and not self._is_closed:
                self._monitor.listen()

    def _look(self) -> None:
        if self._is_closed:
            return
        report = self._monitor.ended()
        self._tier = max(self._tier, report["tier"])
        for name in self._losses:
            self._losses[name] += report[name]
        self._waiting.extend(Ended._of(row) for row in report["processes"])


@overload
def ended(
    selector: Optional[_Selector] = None,
    *,
    seconds: float,
    interval: float = 1.0,
    cmdline: bool = False,
    tier: Optional[str] = None,
) -> List[Ended]: ...


@overload
def ended(
    selector: Optional[_Selector] = None,
    *,
    seconds: None = None,
    interval: float = 1.0,
    cmdline: bool = False,
    tier: Optional[str] = None,
) -> EndedStream: ...


def ended(
    selector: Optional[_Selector] = None,
    *,
    seconds: Optional[float] = None,
    interval: float = 1.0,
    cmdline: bool = False,
    tier: Optional[str] = None,
) -> Union[List[Ended], EndedStream]:
    """The processes that end, each once: as a list after `seconds`, or without `seconds` as an
    iterator that goes on until it is closed::

        for process in mp.ended("name:make", seconds=60):
            print(process.name, process.status, process.write_bytes)

        with mp.ended() as ends:
            for process in ends:
                print(process.pid, process.failed)

    Even those of a few milliseconds are told of at tiers A and B. At tier C, where nobody
    records ends, only those that were seen alive are, without their status.

    :param selector: a :class:`Selector` or its text form; None for every process.
    :param seconds: how long to watch; None for an iterator.
    :param interval: seconds between two looks.
    :param cmdline: also read command lines, which may hold secrets.
    :param tier: no better than this tier, ``"A"``, ``"B"`` or ``"C"``; None allows all.
    :raises SelectorError: a selector that says nothing, or names a user that does not exist.
    :raises ValueError: a time that is negative or NaN.
    :raises OSError: /proc cannot be read at all.

    Source: exit records by BPF or taskstats(2), else the files of ``/proc/PID``.
    """
    duration = None if seconds is None else _native.interval_seconds(seconds)
    stream = EndedStream(selector, interval, cmdline, tier)
    if duration is None:
        return stream
    try:
        return stream._collect(duration)
    finally:
        stream.close()
