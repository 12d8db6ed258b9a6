"""What mypy must accept with --strict: the calls of the README, and what they return."""

import asyncio
from collections import Counter
from typing import Dict, List, Optional, Union

import metrics_per_process as mp

pids: List[int] = mp.find_pids(
    process_names=["foo", "bar"],
    users=["max", "sam"],
    process_env={"TAG_ENV_VAR": "whatever", "VAR_THAT_SHOULD_NOT_BE": None},
)
same_pids: List[int] = mp.find_pids_from_name("foo")
stats: Dict[str, Union[int, float, str]] = mp.stats_per_pid(pid=5445)
sums: "Counter[str]" = mp.multi_pid_process_stats(pids=[5453, 5434, 3423])
rates: "Counter[str]" = mp.get_processes_stats_ex(
    process_names=["foo", "bar"],
    users=["max", "sam"],
    process_env={"TAG_ENV_VAR": "whatever"},
    interval_sec=0.5,
    keep_important_metrics=True,
    include_connections=True,
)

selector: mp.Selector = mp.Selector(names=["foo"], env={"TAG": "x", "OTHER": None}, children=True)
sample: mp.Sample = mp.show(mp.Selector.parse("name:foo env:TAG=x"), interval=1.0)
written: Optional[float] = sample.io.write_bytes_per_sec
resident: Optional[int] = sample.memory.rss
listening: Optional[int] = sample.conns.tcp.listen
by_name: Union[int, float, None] = sample["memory.rss"]
reason: str = sample.why["memory.pss"]
tier: str = sample.tier
lost: int = sample.lost
is_partial: bool = sample.partial
found: List[mp.Process] = mp.find(selector, children=True, strict=True)
first: mp.Metric = mp.metrics()[0]
deaths: List[mp.Ended] = mp.ended(selector, seconds=1.0, tier="B", cmdline=True)
wrote: Optional[int] = deaths[0].write_bytes
how: Optional[int] = deaths[0].status

lost_records: int = sample.lost_records
io_bound_bytes: int = sample.io_bound_bytes


def measure() -> None:
    with mp.measure(tier="A") as m:
        inside: Optional[int] = m.io.write_bytes
        m.limit(max_memory="512MiB", max_cpu=2.5, max_fds=100, leaves_no_process=True)
    measured: mp.Measured = m.measured
    peak: Optional[int] = measured.memory.peak
    for pid, name in m.left:
        print(pid + 1, name.upper(), inside, peak, measured.own_cpu, m.accuracy["cpu.user"])


@mp.measure(then=lambda measured: print(measured.elapsed))
def add(one: int, other: int) -> int:
    return one + other


async def double(number: int) -> int:
    measured = mp.measure()(double)
    return await measured(add(number, number))


report: mp.RunReport = mp.run(["true"], fail_if=["memory.peak > 4GiB"], timeout=60, check=True)
status: int = report.returncode
busiest: mp.Program = report.programs[0]
judged: mp.Judged = report.limits[0]
seconds: Optional[float] = busiest.cpu.user


def watch() -> None:
    with mp.Sampler(selector, interval=1.0, metrics="io") as samples:
        for taken in samples:
            print(taken.cpu.percent)


def mourn() -> None:
    with mp.ended(interval=0.5) as ends:
        for process in ends:
            print(process.name, process.failed, process["cpu.user"])


async def watch_async() -> None:
    async for taken in mp.Sampler("name:foo"):
        print(taken.fds, taken.threads)


asyncio.run(watch_async())
