"""The one table of metrics."""

from __future__ import annotations

from collections import namedtuple

from . import _native

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, NamedTuple, Optional

    class _Metric(NamedTuple):
        name: str
        unit: str
        kind: str
        type: str
        sums_by: str
        drop_in: Optional[str]
        prometheus: str
        otel: str
        source: str
        privilege: Optional[str]
        help: str
else:
    _Metric = namedtuple(
        "_Metric",
        [
            "name",
            "unit",
            "kind",
            "type",
            "sums_by",
            "drop_in",
            "prometheus",
            "otel",
            "source",
            "privilege",
            "help",
        ],
    )


class Metric(_Metric):
    """One metric: what it means and every name it bears, as a tuple with names.

    - ``name``: the dotted name, ``memory.rss``.
    - ``unit``: ``bytes``, ``seconds``, ``percent`` or ``count``.
    - ``kind``: ``gauge``, or ``counter``: that one never falls and has a rate,
      ``<name>_per_sec``.
    - ``type``: ``integer`` or ``float``.
    - ``sums_by``: how a group's figure comes from its members': ``sum``, ``ledger``, ``max``,
      ``peak_of_sum``, ``distinct_sockets`` or ``connections``.
    - ``drop_in``: its key in the five functions, or None where they do not have it.
    - ``prometheus``, ``otel``: its names there.
    - ``source``: where the kernel says it.
    - ``privilege``: what it takes to read it of other users' processes; None for nothing.
    - ``help``: one sentence.
    """

    __slots__ = ()


def metrics() -> List[Metric]:
    """Every metric there is, in the order of the table."""
    return [Metric(**row) for row in _native.metrics()]
