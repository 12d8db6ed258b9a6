"""The five functions that people know, with their names, arguments, keys and types.

Names and values are text; bytes that are not UTF-8 stand in it by surrogate escape, as
``os.fsdecode`` writes them. Keys are documented with :func:`stats_per_pid`.
"""

from __future__ import annotations

from collections import Counter

from . import _native

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Mapping, Optional, Union

    #: What a value can be: counts and bytes, seconds and rates, and ``fetch_time``.
    _Value = Union[int, float, str]

_TCP = "conns.tcp."
_TCP_TOTAL = "conns.tcp.total"
_NEVER_FILTERED = "total_processes"


def find_pids(
    process_names: Optional[Iterable[str]] = None,
    users: Optional[Iterable[str]] = None,
    process_env: Optional[Mapping[str, Optional[str]]] = None,
) -> List[int]:
    """The PIDs of the processes that match, ascending.

    Conditions of different kinds must all hold. Of several names or users any will do;
    of the environment every entry must hold.

    **A condition that is None or empty matches everything.** A list that your program
    computed and that turned out empty selects the whole machine: check it before the call.

    :param process_names: command names, compared with the kernel's whole. It keeps 15 bytes
        of a name, so a longer one never matches here; :class:`Selector` knows whole names.
    :param users: names of effective users. One that does not exist matches nobody.
    :param process_env: variables with their whole value, or None for a variable that must
        not be there. The empty string is a value; what is not ``KEY=VALUE`` is no variable. A
        process whose environment cannot be read, because it is another user's or lets nobody
        read it, does not match at all.
    :raises TypeError: an argument of a wrong type, such as a bare string for a list.
    :raises OSError: /proc cannot be read at all.

    Source: ``/proc/PID/comm``, ``/proc/PID/environ`` and the owner of ``/proc/PID``, each only where
    it decides. Where no environment is asked for: the programs in the kernel that
    :func:`get_processes_stats_ex` speaks of, from 5,000 processes on, and however few there are while
    a call has left them loaded.

    From 500 processes on, calls that are repeated with less than 90 seconds between them load these
    programs once they have read as much as that costs. Calls for the same variables then read the
    environment only of who is new or has executed something: what a process writes over its own
    environment later, as a daemon that sets its title does, changes nothing.
    """
    return _native.find_pids(process_names, users, process_env)


def find_pids_from_name(name: str) -> List[int]:
    """The PIDs of the processes with this command name, ascending.

    As ``find_pids(process_names=[name])``.

    :raises TypeError: the name is not a str.
    :raises OSError: /proc cannot be read at all.
    """
    if not isinstance(name, str):
        found = "None" if name is None else type(name).__name__
        raise TypeError(f"name: expected a str, but found {found}")
    return _native.find_pids([name], None, None)


def stats_per_pid(pid: int, metrics_regexes: Optional[Iterable[Any]] = None) -> Dict[str, _Value]:
    """Everything of one process, zeros kept; ``{}`` where there is no such process.

    ==================================== ========= ==============================================
    key                                  unit      source
    ==================================== ========= ==============================================
    memory.rss vms shared text data      bytes     ``/proc/PID/statm``
    memory.lib memory.dirty              bytes     always 0 since Linux 2.6
    memory.percent                       percent   rss of ``MemTotal``
    cpu.user cpu.system                  seconds   ``/proc/PID/stat``
    cpu.percent                          percent   of one core; 0.0 here, with one reading
    threads                              count     ``/proc/PID/stat``
    fds                                  count     ``/proc/PID/fd``
    ctx_switches.voluntary involuntary   count     ``/proc/PID/status``: main thread only
    io_counters.read_count write_count   calls     ``/proc/PID/io`` syscr, syscw
    io_counters.read_bytes write_bytes   bytes     ``/proc/PID/io``: to and from storage
    conns.tcp.total and by state         count     sock_diag(7); only with a TCP socket
    conns.udp.total                      count     only when there is one
    conns.unix_sockets.total             count     only when there is one
    ==================================== ========= ==============================================

    What may not be read of another user's process (descriptors, I/O, connections) is left
    out; nothing is raised, and nothing for a process that ends meanwhile.

    :param pid: 0, or a number that no process bears, gives ``{}``.
    :param metrics_regexes: keep only keys that one of these patterns matches at its start,
        as ``re.match`` does. None or empty: keep all.
    :raises TypeError: the PID is not an int.
    :raises ValueError: the PID is negative, or a pattern is none.
    :raises OSError: /proc cannot be read at all.
    """
    return _choose(_native.stats_per_pid(pid), metrics_regexes)


def multi_pid_process_stats(
    pids: Iterable[int], metrics_regexes: Optional[Iterable[Any]] = None
) -> Counter[str]:
    """The sums over several processes, without what sums to 0, and ``total_processes``.

    A PID given twice counts twice. Processes that do not exist, or end meanwhile, do not
    count; with none left the Counter is empty. Memory that processes share is in the sum
    once for each of them. Some values are floats, whatever the annotation of Counter says.
    A thousand PIDs and more that are at least a quarter of all processes (kernel threads included)
    are read by programs in the kernel, as :func:`get_processes_stats_ex` says.

    :param pids: the processes.
    :param metrics_regexes: as in :func:`stats_per_pid`; ``total_processes`` always stays.
    :raises TypeError: not a list of int.
    :raises ValueError: a negative PID, or a pattern that is none.
    :raises OSError: /proc cannot be read at all.
    """
    return Counter(_choose(_native.multi_pid_process_stats(pids), metrics_regexes))


def get_processes_stats_ex(
    process_names: Optional[Iterable[str]] = None,
    users: Optional[Iterable[str]] = None,
    process_env: Optional[Mapping[str, Optional[str]]] = None,
    interval_sec: float = 1,
    keep_important_metrics: bool = False,
    include_connections: bool = True,
) -> Counter[str]:
    """Finds processes, reads them, waits, and reads them again.

    The result has the sums of the second reading, and ``<key>_per_sec`` for every key but
    ``cpu.percent``, divided by the time that was measured between the two. A process that
    ended in between is not in the sums.

    The rates of I/O and CPU time do not jump when children end, although the kernel adds
    what a child did to its parent: they are what the members that live on did themselves,
    what members that ended did since the first reading, and all that members born
    meanwhile did. No median filter is needed. Without a kernel event for each process that
    ends they are a close estimate.

    From 1,000 processes on (kernel threads included) all are read by programs in the kernel,
    where it may load them, as root or with CAP_BPF and CAP_PERFMON, and no environment is
    asked for. They tell of each process that ends, too, those that nobody saw alive
    included; each reading of a process takes 2 microseconds instead of some 30. Loading them
    costs some 20 ms of CPU time at the first call. A thread of ours keeps them for 90 seconds
    after the last one: no descriptor of this process belongs to them, a forked child inherits
    nothing, and of several calls at the same time one has them, while the others read files.
    That they cannot be had is remembered for as long.

    ``fetch_time`` is how long the call took in seconds, as text: ``'1.19604'``. Other values
    are int or float, whatever the annotation of Counter says.

    :param process_names: as in :func:`find_pids`; **None or empty matches everything**.
    :param users: likewise.
    :param process_env: likewise.
    :param interval_sec: seconds between the two readings; 0 for a single one without rates.
    :param keep_important_metrics: keep these although they are 0: ``total_processes``,
        ``threads``, ``fds``, ``cpu.user``, ``cpu.system``, ``cpu.percent``, ``memory.rss``,
        ``memory.vms``, ``memory.percent``, and the four ``io_counters`` with their rates.
    :param include_connections: whether to count sockets, which takes longer.
    :raises TypeError: an argument of a wrong type, such as a bare string for a list.
    :raises ValueError: an interval that is negative, NaN or endless.
    :raises OSError: /proc cannot be read at all.

    Ctrl-C ends the wait at once; other threads run meanwhile.
    """
    return Counter(
        _native.get_processes_stats_ex(
            process_names,
            users,
            process_env,
            interval_sec,
            keep_important_metrics,
            include_connections,
        )
    )


def _choose(stats: Dict[str, _Value], metrics_regexes: Optional[Iterable[Any]]) -> Dict[str, _Value]:
    """What the patterns choose; a match of any TCP key brings the total along."""
    if metrics_regexes is None:
        return stats
    patterns = _patterns(metrics_regexes)
    if not patterns:
        return stats

    def is_chosen(key: str) -> bool:
        if key == _TCP_TOTAL:
            keys = [other for other in stats if other.startswith(_TCP)]
        else:
            keys = [key]
        return key == _NEVER_FILTERED or any(p.match(k) for p in patterns for k in keys)

    return {key: value for key, value in stats.items() if is_chosen(key)}


def _patterns(metrics_regexes: Iterable[Any]) -> List[Any]:
    # Costly to import, and rarely needed.
    import re

    if isinstance(metrics_regexes, (str, bytes, re.Pattern)):
        found = type(metrics_regexes).__name__
        raise TypeError(f"metrics_regexes: expected a list of patterns, but found a bare {found}")
    try:
        patterns = list(metrics_regexes)
    except TypeError:
        found = type(metrics_regexes).__name__
        raise TypeError(
            f"metrics_regexes: expected a list of patterns, but found {found}"
        ) from None
    return [_pattern(pattern) for pattern in patterns]


def _pattern(pattern: Any) -> Any:
    import re

    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return pattern
    if not isinstance(pattern, str):
        found = type(pattern).__name__
        raise TypeError(f"metrics_regexes: expected a list of str, but found {found} in it")
    try:
        return re.compile(pattern)
    except re.error as cause:
        raise ValueError(f"metrics_regexes: {pattern!r} is no pattern: {cause}") from cause
