"""Puts what the tools show beside the truth: by the second, as totals, and as tables."""

import math
from dataclasses import dataclass

MB = 1e6
#: No disk takes so many bytes in a second: a difference below zero that was taken for a large number.
IMPOSSIBLE = 1e15

#: How the tables are to be read.
LEGEND = """
All tools watch the same load at the same time, each at its own interval of one second. MB are 10^6 bytes handed to
the storage layer. "Truth" is what the load counted itself, in memory that its processes share. The error of a second
compares a tool's interval with the truth of that very interval, as a share of the load's usual rate; a write falls on
either side of an interval's end, which alone is 10 % of a load that writes ten times a second. `-` is what a tool
shows as unknown; an empty cell is a second for which it printed nothing. A process without a line counts as 0. "MB in
all" is the growth of a tool's counter where it shows one, else its rates added up.
"""


@dataclass(frozen=True)
class Column:
    """What one tool shows of one load."""

    name: str
    version: str
    is_own: bool
    #: Bytes per second in each second since the start; `None` where it does not know, and absent
    #: where it shows nothing.
    rates: dict
    #: Bytes in all: by the tool's counter where it has one beside its rates, else by its rates.
    total: float
    #: The largest difference from the truth in a second, as a share of the truth's usual rate.
    worst: float


def column(watch, readings, truth, span):
    """Compares readings with the truth of the very same intervals."""
    begin, end = span
    usual = usual_rate(truth, span)
    rates, total, worst, first, tiers = {}, 0.0, 0.0, None, []
    readings_end, counters = begin, []
    for reading in readings:
        if reading.end <= begin:
            counters = [reading.counter]
        if reading.end <= begin or reading.end - reading.span >= end:
            continue
        counters.append(reading.counter)
        middle = reading.end - reading.span / 2 - begin
        # A tool's own second drifts against the clock's: count from reading to reading.
        first = first or (middle, math.floor(middle))
        second = first[1] + round(middle - first[0])
        rates[second], readings_end = reading.rate, reading.end
        tiers.append(reading.tier)
        if reading.rate is not None:
            total += reading.rate * reading.span
            error = abs(reading.rate - truth.rate(reading.end, reading.span))
            worst = max(worst, error / usual)
    known = [counter for counter in counters if counter is not None]
    if len(known) > 1 and counters[0] is not None:
        total = known[-1] - known[0]
    tool = watch.tool
    version = watch.version
    others = [tier for tier in tiers if tier != tool.tier]
    if others:
        version += f", {len(others)} s at tier {max(others)}"
    if rates and readings_end < truth.moments[-1]:
        version += f", silent after {readings_end - begin:.0f} s"
    return Column(tool.name, version, tool.tier is not None, rates, total, worst)


def usual_rate(truth, span):
    """The median of the seconds in which anything was written."""
    rates = sorted(rate for rate in by_second(truth, span) if rate > 0)
    return rates[len(rates) // 2]


def by_second(truth, span):
    begin, end = span
    return [truth.rate(begin + second + 1, 1) for second in range(int(end - begin))]


def verdict(shown, truth_total, load):
    """What the numbers say, in words."""
    if load.is_hidden_for_a_while:
        return meanwhile(shown)
    times = shown.total / truth_total
    if times < 0.02:
        return "not counted"
    if times > 1.1:
        return f"counted {times:.1f} times"
    if times < 0.9:
        return f"{times:.0%} of it counted"
    if not load.has_seconds:
        return "counted once"
    return "counted once, in its second" if shown.worst < 0.25 else "counted once, at another time"


def meanwhile(shown):
    """What a tool shows while it is refused the counters, and when it is not any more."""
    rates = [rate for _, rate in sorted(shown.rates.items())]
    known = [rate for rate in rates if rate is not None]
    later = [rate for rate in rates[len(rates) // 2 :] if rate is not None]
    if not later:
        return "unknown to the end"
    if max(known) > IMPOSSIBLE:
        return "a total near 2^64"
    then = f"then {max(later) / MB:.0f} MB/s"
    if min(known) < 0:
        return f"a total that falls by {-min(known) / MB:.0f} MB, {then}"
    return f"unknown, {then}" if None in rates else f"0, {then}"


def table(load, columns, truth, span):
    """The tables of one load, as Markdown."""
    lines = [f"## {load.title}", "", load.does, ""]
    if load.has_seconds:
        lines += [*second_rows(columns, by_second(truth, span)), ""]
    lines += total_rows(load, columns, truth.total())
    return "\n".join(lines) + "\n"


def second_rows(columns, seconds):
    """One column for each second."""
    head = " | ".join(str(second + 1) for second in range(len(seconds)))
    yield f"| MB/s in second | {head} |"
    yield "|---|" + "---:|" * len(seconds)
    yield row("truth", seconds)
    for shown in columns:
        yield row(shown.name, [shown.rates.get(second, "") for second in range(len(seconds))])


def total_rows(load, columns, written):
    """The whole run, and what it says."""
    words_head = "while it cannot be read" if load.is_hidden_for_a_while else "written bytes are"
    yield f"| tool | version | MB in all | error | worst second | {words_head} |"
    yield "|---|---|---:|---:|---:|---|"
    yield f"| truth | | {written / MB:.1f} | | | |"
    for shown in columns:
        error = percent(shown.total / written - 1)
        worst = share(shown.worst) if load.has_seconds else ""
        words = verdict(shown, written, load)
        yield f"| {shown.name} | {shown.version} | {shown.total / MB:.1f} | {error} | {worst} | {words} |"


def percent(difference):
    """With a sign, and one digit where it is small."""
    if abs(difference) < 0.0005:
        return "0.0%"
    return f"{difference:+.0%}" if abs(difference) >= 0.1 else f"{difference:+.1%}"


def share(error):
    """Without a sign; what is beyond all measure has no digits."""
    return f"{error:.0%}" if error < 10 else "over 1,000%"


def row(name, rates):
    return f"| {name} | " + " | ".join(cell(rate) for rate in rates) + " |"


def cell(rate):
    """A rate in MB/s: `-` is what a tool shows as unknown, empty is no word from it."""
    if rate is None:
        return "-"
    if rate == "":
        return rate
    return f"{rate / MB:.1f}" if abs(rate) < IMPOSSIBLE else f"{rate / MB:.1e}"
