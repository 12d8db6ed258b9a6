"""What processes really use, all together, their ended children included.

Five functions with the names, arguments and keys that people know from psutil's time::

    import metrics_per_process as mp

    pids = mp.find_pids(process_names=["nginx"], users=["www-data"])
    mp.stats_per_pid(pid=pids[0])
    mp.multi_pid_process_stats(pids)
    mp.get_processes_stats_ex(process_names=["nginx"], interval_sec=1)

and a small typed interface beyond them::

    sample = mp.show("name:nginx", interval=1.0)
    print(sample.io.write_bytes_per_sec, sample.memory.rss, sample.tier)

    with mp.measure() as m:
        work()
    print(m.io.write_bytes, m.memory.peak, m.left)

    report = mp.run(["make", "-j8"], fail_if="memory.peak > 4GiB")

    for sample in mp.Sampler(mp.Selector(names=["nginx"]), interval=1.0):
        print(sample["cpu.percent"])

    for process in mp.ended("name:make", seconds=60):
        print(process.name, process.status, process.write_bytes)

Linux only: it reads ``/proc``. Nothing else need be installed.
"""

import sys

if not sys.platform.startswith("linux"):
    raise ImportError(
        f"metrics_per_process works on Linux only, since it reads /proc; this is {sys.platform}"
    )

from ._native import PermissionLimited, Selector, SelectorError, __version__
from .compat import (
    find_pids,
    find_pids_from_name,
    get_processes_stats_ex,
    multi_pid_process_stats,
    stats_per_pid,
)
from .ended import Ended, EndedStream, ended
from .found import Process, find
from .limits import LimitBroken, LimitUnknown
from .measuring import Measured, Measurement, measure
from .metric import Metric, metrics
from .running import Judged, Program, RunReport, run
from .sample import Sample
from .sampler import Sampler, show

__all__ = [
    "Ended",
    "EndedStream",
    "Judged",
    "LimitBroken",
    "LimitUnknown",
    "Measured",
    "Measurement",
    "Metric",
    "PermissionLimited",
    "Process",
    "Program",
    "RunReport",
    "Sample",
    "Sampler",
    "Selector",
    "SelectorError",
    "__version__",
    "ended",
    "find",
    "find_pids",
    "find_pids_from_name",
    "get_processes_stats_ex",
    "measure",
    "metrics",
    "multi_pid_process_stats",
    "run",
    "show",
    "stats_per_pid",
]
