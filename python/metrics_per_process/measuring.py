"""Measuring this process and everything it starts, from one line to another."""

from __future__ import annotations

from . import _native
from .figures import Figures, Seen
from .limits import LimitBroken, Limits, LimitUnknown
from ._sections import Sections

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import (
        Any, Callable, Dict, Iterable, List, Optional, Tuple, Type, TypeVar, Union,
    )

    from .limits import _Bound

    _Function = TypeVar("_Function", bound=Callable[..., object])

#: One thread that watches, by tier. A forked child makes its own.
_meters: Dict[Optional[str], _native.Meter] = {}


class Measured(Seen):
    """What this process and everything it started used in a stretch of time. Frozen.

    By attribute, ``measured.io.write_bytes``, or by dotted name. Counters are what was done in
    that time; of what rises and falls (``memory.peak``, ``fds``, ``processes.total``) it is the
    most that was seen at once. What measuring itself took is taken off.
    """

    __slots__ = ("_core", "_refusals")

    _core: Optional[_native.Measured]
    _refusals: Tuple[str, ...]

    def __init__(self) -> None:
        raise TypeError("a Measured is made by measure()")

    @classmethod
    def _of(
        cls,
        row: Dict[str, Any],
        refusals: Tuple[str, ...],
        measured: Optional[_native.Measured],
    ) -> Measured:
        self = cls.__new__(cls)
        self._fill(row)
        object.__setattr__(self, "_core", measured)
        object.__setattr__(self, "_refusals", refusals)
        return self

    @property
    def elapsed(self) -> float:
        """Seconds from the begin to the end, or to when it was asked."""
        elapsed: float = self._row["elapsed"]
        return elapsed

    @property
    def started(self) -> Optional[int]:
        """How many processes began; where polling must do, as far as was seen."""
        started: Optional[int] = self._row["started"]
        return started

    @property
    def ended(self) -> Optional[int]:
        """How many ended, those that lived before included: ``processes.ended``."""
        return self.processes.ended

    @property
    def left(self) -> Tuple[Tuple[int, str], ...]:
        """PID and name of each process that was started and still lives, ascending by PID."""
        return tuple(self._row["left"])

    @property
    def looks(self) -> int:
        """How often was looked at what all hold."""
        looks: int = self._row["looks"]
        return looks

    @property
    def failed_looks(self) -> int:
        """How often looking failed: what was there then was not seen."""
        looks: int = self._row["failed_looks"]
        return looks

    @property
    def own_cpu(self) -> float:
        """CPU seconds that measuring took; they are not in the figures."""
        seconds: float = self._row["own_cpu"]
        return seconds

    @property
    def refusals(self) -> Tuple[str, ...]:
        """Why ended processes are not seen better, a sentence each; ``mpp doctor`` has cures."""
        return self._refusals

    def limit(
        self,
        *,
        fail_if: Union[str, Iterable[str]] = (),
        leaves_no_process: bool = False,
        **bounds: _Bound,
    ) -> None:
        """Checks limits: ``limit(max_memory="512MiB", max_write=0, leaves_no_process=True)``.

        :param fail_if: limits in the words of ``mpp run --fail-if``.
        :param leaves_no_process: whether processes that were started must have ended.
        :param bounds: ``max_memory``, ``max_cpu``, ``max_write`` and so on.
        :raises LimitBroken: one was broken. It is an AssertionError.
        :raises ValueError: a keyword that is none, or a bound that cannot be read.

        Warns with :class:`LimitUnknown` of those that nobody can judge.
        """
        self._check(Limits(fail_if, leaves_no_process, **bounds))

    def _check(self, limits: Limits) -> None:
        if self._core is None:
            raise TypeError("limits cannot be checked on a copy from another process")
        broken, unknown = limits.check(self._core)
        for line in unknown:
            # Costly to import, and rarely needed.
            import warnings

            warnings.warn(line, LimitUnknown, stacklevel=3)
        if broken:
            raise LimitBroken("\n".join(broken))

    # A class that has slots must say so beside the base's.
    __eq__ = Figures.__eq__
    __hash__ = Figures.__hash__

    def __repr__(self) -> str:
        return f"<Measured tier={self.tier} elapsed={self.elapsed:.6f} {self._known()}>"

    def __reduce__(self) -> Any:
        return (_restore, (self._row, self._refusals))


def _restore(row: Dict[str, Any], refusals: Tuple[str, ...]) -> Measured:
    return Measured._of(row, refusals, None)


class Measurement(Sections):
    """A block that is measured. Made by :func:`measure`; see there.

    Inside of the block every look at a figure measures up to that moment; after it the figures
    stand still.
    """

    def __init__(
        self, tier: Optional[str], then: Optional[Callable[[Measured], object]]
    ) -> None:
        self._tier = tier
        self._then = then
        self._running: List[Tuple[_native.Measurement, Tuple[str, ...]]] = []
        self._last: Optional[Measured] = None
        # Wrong arguments are told where they stand.
        _check_tier(tier)

    def __enter__(self) -> Measurement:
        self._running.append(_begin(self._tier))
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        running, refusals = self._running.pop()
        if running.is_foreign():
            # A forked child came out of its parent's block: that one measures.
            return
        try:
            self._last = _read(running, refusals)
        except (OSError, RuntimeError):
            # What went wrong in the block matters more.
            if error is None:
                raise
        finally:
            running.close()
        if self._then is not None and self._last is not None:
            self._then(self._last)

    def __call__(self, function: _Function) -> _Function:
        """Measures each call of a function, also of one that is awaited or iterated over. The
        function's attribute ``measured`` is what the last call used that ended."""
        # Costly to import, and only decorators need it.
        from ._decorated import decorated

        return decorated(function, self._tier, self._then)

    @property
    def measured(self) -> Measured:
        """All figures of one moment: now, or of the end of the block."""
        if self._running:
            return _read(*self._running[-1])
        if self._last is None:
            raise RuntimeError("nothing is measured yet: the block has not begun")
        return self._last

    def limit(
        self,
        *,
        fail_if: Union[str, Iterable[str]] = (),
        leaves_no_process: bool = False,
        **bounds: _Bound,
    ) -> None:
        """Checks limits on what was used so far; see :meth:`Measured.limit`."""
        limits = Limits(fail_if, leaves_no_process, **bounds)
        self.measured._check(limits)

    def __getitem__(self, name: str) -> Optional[Union[int, float]]:
        return self.measured[name]

    def _number(self, name: str) -> Any:
        return self.measured._values[name]

    @property
    def _values(self) -> Dict[str, Optional[Union[int, float]]]:
        return self.measured._values

    @property
    def elapsed(self) -> float:
        """See :attr:`Measured.elapsed`."""
        return self.measured.elapsed

    @property
    def started(self) -> Optional[int]:
        """See :attr:`Measured.started`."""
        return self.measured.started

    @property
    def ended(self) -> Optional[int]:
        """See :attr:`Measured.ended`."""
        return self.measured.ended

    @property
    def left(self) -> Tuple[Tuple[int, str], ...]:
        """See :attr:`Measured.left`."""
        return self.measured.left

    @property
    def tier(self) -> str:
        """See :attr:`Measured.tier`."""
        return self.measured.tier

    @property
    def marks(self) -> Mapping[str, str]:
        """See :attr:`Measured.marks`."""
        return self.measured.marks

    @property
    def accuracy(self) -> Mapping[str, str]:
        """See :attr:`Measured.accuracy`."""
        return self.measured.accuracy

    @property
    def why(self) -> Mapping[str, str]:
        """See :attr:`Measured.why`."""
        return self.measured.why

    def __repr__(self) -> str:
        state = "running" if self._running else "not begun" if self._last is None else "ended"
        return f"<Measurement {state}>"


def measure(
    *, tier: Optional[str] = None, then: Optional[Callable[[Measured], object]] = None
) -> Measurement:
    """Measures this process and everything it starts, in a block or in each call of a function::

        with mp.measure() as m:
            work()
        print(m.io.write_bytes, m.memory.peak, m.cpu.user, m.started, m.left)

        @mp.measure(then=print)
        async def work(): ...

    Only what happens in the block counts. Children that live already count with what they do
    in it; those that are started in it belong to it for good, daemons included, as far as the
    tier sees whose they are. Other threads of this process are in the figures too: blocks may be
    nested, and run in several threads at once, and each sees everything.

    :param tier: no better than this tier, ``"A"``, ``"B"`` or ``"C"``; None allows all.
    :param then: called with the :class:`Measured` of each block or call that has ended.
    :raises ValueError: another tier.
    :raises OSError: at the begin of the block: /proc cannot be read at all.

    An exception in the block goes on, and the figures are there all the same. In a child that
    was forked in the block the end of the block does nothing.
    """
    return Measurement(tier, then)


def _check_tier(tier: Optional[str]) -> None:
    if tier not in (None, "A", "B", "C"):
        kind = TypeError if not isinstance(tier, str) else ValueError
        raise kind("tier: expected `A`, `B` or `C`")


def _begin(tier: Optional[str]) -> Tuple[_native.Measurement, Tuple[str, ...]]:
    meter = _meters.get(tier)
    if meter is None or meter.is_foreign():
        meter = _meters[tier] = _native.Meter(tier)
    measurement = meter.begin()
    return measurement, tuple(meter.refusals())


def _read(running: _native.Measurement, refusals: Tuple[str, ...]) -> Measured:
    measured = running.so_far()
    return Measured._of(measured.row(), refusals, measured)
