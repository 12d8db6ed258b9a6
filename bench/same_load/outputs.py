"""What each tool prints, turned into readings: one parser for each form of output.

A parser takes the lines of standard output, each with the moment at which it arrived, and the name
of the load's processes. It yields readings in order. No parser knows how its tool is started.
"""

import json
import re
from dataclasses import dataclass
from itertools import groupby
from typing import Optional

SECTOR_BYTES = 512


@dataclass(frozen=True)
class Reading:
    """What a tool says of one interval."""

    #: When the interval ended: seconds since 1970.
    end: float
    #: How long it was, in seconds.
    span: float
    #: Bytes written per second; `None` where the tool says that it does not know.
    rate: Optional[float]
    #: Of our own program: how accurate the interval is.
    tier: Optional[str] = None
    #: Bytes written until then, where the tool shows a counter beside its rates.
    counter: Optional[float] = None


def shown(lines, name):
    """`mpp show --format jsonl`: says itself when and over how long, and has a counter, too."""
    for _, line in lines:
        sample = json.loads(line)
        if "interval_sec" in sample:
            rate = sample.get("io_counters.write_bytes_per_sec")
            counter = sample.get("io_counters.write_bytes")
            yield Reading(sample["time"], sample["interval_sec"], rate, sample["tier"], counter)


def counters(lines, name):
    """`MOMENT TOTAL`, where a total may be unknown: the growth from line to line."""
    previous = None
    for _, line in lines:
        moment, total = line.split()
        moment, total = float(moment), None if total == "-" else float(total)
        if previous is not None:
            unknown = total is None or previous[1] is None
            growth = None if unknown else total - previous[1]
            span = moment - previous[0]
            yield Reading(moment, span, None if unknown else growth / span)
        previous = moment, total


def sums(lines, name):
    """`MOMENT SPAN RATE`, from a script that takes differences itself."""
    for _, line in lines:
        moment, span, rate = map(float, line.split())
        yield Reading(moment, span, rate)


def pidstat(lines, name):
    """`pidstat -d -h -H`: a header before each interval, then a line for each active process."""
    heads = [number for number, (_, line) in enumerate(lines) if line.startswith("#")]
    previous = None
    for begin, end in zip(heads, heads[1:] + [len(lines)]):
        arrival, head = lines[begin]
        names = head.lstrip("# ").split()
        column = names.index("kB_wr/s")
        rows = [line.split() for _, line in lines[begin + 1 : end] if line.strip()]
        rates = [float(row[column]) for row in rows if row[-1] == name]
        # Processes that may not be read are shown as -1.00.
        unknown = any(rate < 0 for rate in rates)
        rate = None if unknown else sum(rates) * 1024
        yield Reading(arrival, 1.0 if previous is None else arrival - previous, rate)
        previous = arrival


def apps_plugin(lines, name):
    """Netdata's apps.plugin: the chart of disk writes of a group, in KiB/s with a divisor.

    `BEGIN` says how many microseconds the values are of; the first says 0.
    """
    divisor, chart, span = 1, None, 0.0
    for arrival, line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] in ("CHART", "BEGIN"):
            chart = words[1]
        if chart != "apps.pwrites":
            continue
        if words[0] == "BEGIN":
            span = int(words[2]) / 1e6
        elif words[:2] == ["DIMENSION", name]:
            divisor = int(words[-1])
        elif words[:3] == ["SET", name, "="] and span > 0:
            yield Reading(arrival, span, int(words[3]) / divisor * 1024)


def atop(lines, name):
    """`atop -P PRD`: sectors of each process in the interval; the first sample is since boot."""
    is_end = lambda stamped: stamped[1].strip() == "SEP"
    samples = [list(block) for ended, block in groupby(lines, is_end) if not ended]
    previous = None
    for sample in samples[1:]:
        rows = (re.match(r"PRD .*?\((.*)\) \S \S \S (.*)$", line) for _, line in sample)
        numbers = [row[2].split() for row in rows if row and row[1] == name and row[2].endswith(" y")]
        arrival = sample[-1][0]
        span = 1.0 if previous is None else arrival - previous
        yield Reading(arrival, span, sum(int(row[3]) for row in numbers) * SECTOR_BYTES / span)
        previous = arrival


def iotop(lines, name):
    """`iotop-c -b -k -P`: a head, then the column DISK WRITE of each process.

    A process is shown by its command line, one that has ended by its name.
    """
    heads = [number for number, (_, line) in enumerate(lines) if "Total DISK READ" in line]
    row = re.compile(r"([\d.]+) K/s +([\d.]+) K/s .* % (\S+)")
    for before, begin, end in zip(heads, heads[1:], heads[2:] + [len(lines)]):
        rows = (row.search(line) for _, line in lines[begin:end])
        rates = [float(row[2]) for row in rows if row and row[3].split("/")[-1] == name]
        arrival = lines[begin][0]
        yield Reading(arrival, arrival - lines[before][0], sum(rates) * 1024)


def collectd(lines, name):
    """collectd's csv plugin on standard output: read and written bytes per second of a group."""
    pattern = re.compile(rf"processes-{re.escape(name)}/disk_octets .* ([\d.]+):\S+:(\S+)$")
    previous = None
    for _, line in lines:
        found = pattern.search(line)
        if found:
            moment, rate = float(found[1]), float(found[2])
            if previous is not None and moment > previous:
                yield Reading(moment, moment - previous, None if rate != rate else rate)
            previous = moment
