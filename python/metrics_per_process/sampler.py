"""Measuring groups of processes, once or again and again."""

from __future__ import annotations

import time

from . import _native
from .sample import Sample

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Iterable, Optional, Type, Union

    _Selector = Union[_native.Selector, str]
    _Metrics = Union[str, Iterable[str], None]


def show(
    selector: _Selector,
    interval: float = 1.0,
    *,
    metrics: _Metrics = None,
    tier: Optional[str] = None,
    strict: bool = False,
) -> Sample:
    """Measures what the selected processes use, all together, and returns a :class:`Sample`.

    :param selector: a :class:`Selector` or its text form, ``"name:nginx user:www-data"``.
    :param interval: seconds between the two sweeps that rates come from; 0 for one sweep,
        with totals and gauges only.
    :param metrics: what to read, as ``mpp show -m``: presets (``default``, ``io``, ``mem``,
        ``cpu``, ``net``, ``delays``, ``all``) and globs over dotted names. Everything but
        ``memory.pss`` and ``memory.uss``, which hold up the measured process, unless given.
    :param tier: no better than this tier, ``"A"``, ``"B"`` or ``"C"``; None allows all. Where
        the system or the privileges offer only a lower one, that one is taken: the tier
        of the sample says which it was.
    :param strict: raise where some members could not be read, instead of marking the sample.
    :raises SelectorError: a selector that says nothing, or names a user that does not exist.
    :raises PermissionLimited: with `strict`.
    :raises ValueError: an interval that is negative or NaN, or an unknown metric.
    :raises OSError: /proc cannot be read at all.
    """
    seconds = _native.interval_seconds(interval)
    monitor = _native.Monitor(selector, metrics, tier)
    try:
        sample = monitor.sample()
        if seconds > 0:
            time.sleep(seconds)
            sample = monitor.sample()
        return Sample._of(sample, strict)
    finally:
        monitor.close()


class Sampler:
    """Measures the same processes again and again, as an iterator and an async iterator::

        with Sampler("name:nginx", interval=1.0) as samples:
            for sample in samples:
                print(sample.io.write_bytes_per_sec)

    It keeps to its schedule: a sample that came late does not delay the ones after it, and
    rates are divided by the time that was measured. Totals never fall while it lives.

    Parameters and errors are those of :func:`show`; `interval` must be above 0. Usable from
    several threads; a forked child needs a new one.
    """

    def __init__(
        self,
        selector: _Selector,
        interval: float = 1.0,
        *,
        metrics: _Metrics = None,
        tier: Optional[str] = None,
        strict: bool = False,
    ) -> None:
        self._interval = _native.interval_seconds(interval)
        if self._interval <= 0:
            raise ValueError("interval: expected seconds above 0, but found 0")
        self._strict = strict
        self._monitor = _native.Monitor(selector, metrics, tier)
        self._due = time.monotonic()
        # The baseline: it has totals, but no rates.
        self._monitor.sample()
        self._is_closed = False

    def __iter__(self) -> Sampler:
        return self

    def __next__(self) -> Sample:
        if self._is_closed:
            raise StopIteration
        time.sleep(self._wait())
        return self._sample()

    def __aiter__(self) -> Sampler:
        return self

    async def __anext__(self) -> Sample:
        # Costly to import, and only who awaits needs it.
        import asyncio

        if self._is_closed:
            raise StopAsyncIteration
        await asyncio.sleep(self._wait())
        return await asyncio.get_running_loop().run_in_executor(None, self._sample)

    def __enter__(self) -> Sampler:
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
        self._monitor.close()

    def _wait(self) -> float:
        """Seconds until the next sample is due; what was missed is left out."""
        now = time.monotonic()
        self._due += self._interval
        if self._due < now:
            self._due = now
        return self._due - now

    def _sample(self) -> Sample:
        return Sample._of(self._monitor.sample(), self._strict)
