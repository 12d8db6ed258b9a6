"""The parsers read what the tools printed once, cut to a few lines; and the comparison with the truth.
"""

import unittest
from types import SimpleNamespace

import outputs
import picture
import report
import scrape
from loads import LOADS, Truth

NAME = "massindexer"

PIDSTAT = """\
Linux 6.18.44 (vm) \t11/23/26 \t_x86_64_\t(2 CPU)

# Time        UID       PID   kB_rd/s   kB_wr/s kB_ccwr/s iodelay  Command

# Time        UID       PID   kB_rd/s   kB_wr/s kB_ccwr/s iodelay  Command
1795437756      0     19464    388.00   1024.00      0.00       0  massindexer
1795437756      0     19465    484.00   1024.00      0.00       0  massindexer

# Time        UID       PID   kB_rd/s   kB_wr/s kB_ccwr/s iodelay  Command
1795437757      0     19432     -1.00     -1.00     -1.00       0  massindexer
"""

APPS_PLUGIN = """\
CHART apps.pwrites '' 'Apps Disk Writes' 'KiB/s' disk apps.pwrites stacked 20002 1
DIMENSION massindexer '' absolute 1 10240000
DIMENSION other '' absolute 1 10240000
CHART apps.lwrites '' 'Apps I/O Logical Writes' 'KiB/s' disk apps.lwrites stacked 20042 1
DIMENSION massindexer '' absolute 1 1024
BEGIN apps.pwrites 0
SET massindexer = 0
SET other = 0
END
BEGIN apps.lwrites 999990
SET massindexer = 7
END
BEGIN apps.pwrites 999990
SET massindexer = 1263738209074
SET other = 324722748235
END
"""

ATOP = """\
RESET
PRD vm 1795437753 2026/11/23 12:42:33 24530 19432 (massindexer) S n y 200 200 16 16 0 19432 n y
SEP
PRD vm 1795437754 2026/11/23 12:42:34 1 19432 (massindexer) S n y 0 0 0 0 0 19432 n y
PRD vm 1795437754 2026/11/23 12:42:34 1 77 (x (y) z) S n y 0 0 8 8 0 77 n y
SEP
PRD vm 1795437756 2026/11/23 12:42:36 1 19464 (massindexer) Z n y 776 776 2048 2048 0 19464 n y
PRD vm 1795437756 2026/11/23 12:42:36 1 19464 (massindexer) E n y 0 0 0 0 0 19464 n y
PRD vm 1795437756 2026/11/23 12:42:36 1 19465 (massindexer) S n y 0 0 99 99 0 19464 n n
SEP
"""

IOTOP = """\
  Total DISK READ:    0.00 K/s |   Total DISK WRITE:    0.00 K/s
Current DISK READ:    0.00 K/s | Current DISK WRITE:    0.00 K/s
   PID PRIO     USER   DISK READ  DISK WRITE SWAPIN     IO COMMAND
  Total DISK READ: 2735.59 K/s |   Total DISK WRITE: 18393.64 K/s
Current DISK READ: 1801.19 K/s | Current DISK WRITE:    0.00 K/s
   PID PRIO     USER   DISK READ  DISK WRITE SWAPIN     IO COMMAND
 11196 be/4 root          0.00 K/s  254.50 K/s 0.00 % 0.00 % target/run/massindexer massindexer --rest 1
 19464 be/4 root          0.00 K/s    1.50 K/s 0.00 % 0.00 % massindexer
     1 be/4 root          0.00 K/s    8.00 K/s 0.00 % 0.00 % init
"""

COLLECTD = """\
PUTVAL here/processes-massindexer/disk_octets interval=1.000 1795437275.050:nan:nan
PUTVAL here/processes-massindexer/io_octets interval=1.000 1795437276.050:5.000000:117.260704
PUTVAL here/processes-massindexer/disk_octets interval=1.000 1795437276.050:0.000000:2097152.000000
PUTVAL here/processes-other/disk_octets interval=1.000 1795437276.050:0.000000:9.000000
"""

SHOWN = (
    '{"time":1795437273.5,"tier":"A","interval_sec":1.25,"io_counters.write_bytes":4096,"io_counters.write_bytes_per_sec":100.0,"why":{}}\n'
    '{"time":1795437274.5,"tier":"C","interval_sec":1.0,"io_counters.write_bytes_per_sec":null,"why":{}}\n'
)

PAGE = """\
# TYPE namedprocess_namegroup_write_bytes_total counter
namedprocess_namegroup_read_bytes_total{groupname="load"} 5
namedprocess_namegroup_write_bytes_total{groupname="load2"} 6
namedprocess_namegroup_write_bytes_total{groupname="load"} 1.2345e+07
"""


def stamped(text):
    """Lines that arrived a tenth of a second after each other."""
    return [(100 + number / 10, line) for number, line in enumerate(text.splitlines())]


class Outputs(unittest.TestCase):
    def check(self, parse, text, expected):
        readings = parse(stamped(text), NAME)
        found = [(round(r.span, 3), r.rate if r.rate is None else round(r.rate, 3)) for r in readings]
        self.assertEqual(found, expected)

    def test_pidstat_is_summed_over_processes_and_minus_one_is_unknown(self):
        self.check(outputs.pidstat, PIDSTAT, [(1.0, 0), (0.2, 2 * 1024 * 1024), (0.4, None)])

    def test_netdata_divides_its_whole_numbers_and_says_how_long_it_took(self):
        self.check(outputs.apps_plugin, APPS_PLUGIN, [(1.0, 126373820.907)])

    def test_atop_counts_sectors_of_processes_since_the_second_sample(self):
        self.check(outputs.atop, ATOP, [(1.0, 0.0), (0.4, 2621440.0)])

    def test_iotop_shows_the_living_by_command_line_and_the_dead_by_name(self):
        self.check(outputs.iotop, IOTOP, [(0.3, 256 * 1024)])

    def test_collectd_has_its_own_clock(self):
        self.check(outputs.collectd, COLLECTD, [(1.0, 2097152.0)])

    def test_our_own_unknown_stays_unknown(self):
        self.check(outputs.shown, SHOWN, [(1.25, 100.0), (1.0, None)])
        self.assertEqual([r.counter for r in outputs.shown(stamped(SHOWN), NAME)], [4096, None])

    def test_a_counter_grows_from_line_to_line_and_a_group_may_be_absent(self):
        self.check(outputs.counters, "1.0 -\n2.0 50\n4.0 70\n5.0 0\n", [(1.0, None), (2.0, 10.0), (1.0, -70.0)])

    def test_sums_are_taken_as_they_are(self):
        self.check(outputs.sums, "7.000 1.100 5.5\n", [(1.1, 5.5)])

    def test_a_group_of_the_exporter_is_found_by_its_whole_name(self):
        self.assertEqual(scrape.total(PAGE, "load"), "1.2345e+07")
        self.assertEqual(scrape.total(PAGE, "loa"), "-")


class Comparison(unittest.TestCase):
    #: Nothing for one second, then 10 MB/s for four.
    TRUTH = Truth([(1, 0), (5, 40_000_000)])
    SPAN = (0, 6)
    MASSINDEXER, HIDDEN = LOADS[0], LOADS[-1]

    def column(self, rates, tiers="", counters=(None,)):
        """`counters` begin with that of the reading before, and go on as the last of them."""
        bytes_of = lambda mb: None if mb is None else mb * 1e6
        readings = [outputs.Reading(0.25, 1.0, 0.0, "A", bytes_of(counters[0]))]
        for second, rate in enumerate(rates):
            tier = tiers[second] if tiers else "A"
            counter = bytes_of(counters[min(second + 1, len(counters) - 1)])
            readings.append(outputs.Reading(second + 1.25, 1.0, bytes_of(rate), tier, counter))
        tool = SimpleNamespace(name="tool", tier="A")
        return report.column(SimpleNamespace(tool=tool, version="1"), readings, self.TRUTH, self.SPAN)

    def test_the_truth_is_linear_between_its_lines(self):
        self.assertEqual([self.TRUTH.at(moment) for moment in (0, 2, 9)], [0, 10_000_000, 40_000_000])
        self.assertEqual(report.by_second(self.TRUTH, self.SPAN), [0, 1e7, 1e7, 1e7, 1e7, 0])

    def test_differences_have_digits_where_they_are_small(self):
        found = [report.percent(difference) for difference in (0.00001, -0.0004, -0.034, 1.5)]
        self.assertEqual(found, ["0.0%", "0.0%", "-3.4%", "+150%"])
        self.assertEqual([report.share(error) for error in (0.041, 21.5)], ["4%", "over 1,000%"])

    def test_a_tool_is_compared_over_its_own_intervals(self):
        column = self.column([2.5, 10, 10, 10, 7.5, 0])
        self.assertEqual((column.total, column.worst), (40e6, 0))
        self.assertEqual(report.verdict(column, 40e6, self.MASSINDEXER), "counted once, in its second")

    def test_what_a_counter_grew_by_counts_whatever_the_rates_leave_out(self):
        rates = [2.5, 10, None, None, 7.5, 0]
        self.assertEqual(self.column(rates).total, 20e6)
        self.assertEqual(self.column(rates, counters=(5, 7.5, 17.5, 17.5, 17.5, 45)).total, 40e6)
        self.assertEqual(self.column(rates, counters=(5, 7.5, 17.5, None, None, 45, None)).total, 40e6)
        self.assertEqual(self.column(rates, counters=(None, 7.5, 45)).total, 20e6)

    def test_numbers_are_put_into_words(self):
        for rates, words in [
            ([0, 0, 0, 0, 40, 0], "counted once, at another time"),
            ([0, 10, 10, 10, 10, 40], "counted 2.0 times"),
            ([0, 0, 0, 0, 0, 0], "not counted"),
            ([0, 0, 0, 2, 2, 0], "10% of it counted"),
        ]:
            self.assertEqual(report.verdict(self.column(rates), 40e6, self.MASSINDEXER), words)
        for rates, words in [
            ([9, 5, None, None, 10, 5], "unknown, then 10 MB/s"),
            ([9, 5, 0, 0, 10, 5], "0, then 10 MB/s"),
            ([9, 5, -14, 0, 24, 5], "a total that falls by 14 MB, then 24 MB/s"),
            ([None, None, None, None, None, None], "unknown to the end"),
            ([9, 5, 1.8e13, 0, -1.8e13, 5], "a total near 2^64"),
        ]:
            self.assertEqual(report.verdict(self.column(rates), 40e6, self.HIDDEN), words)

    def test_a_fall_to_another_tier_is_told(self):
        self.assertEqual(self.column([0, 0, 0, 0, 0, 0], "AAAAAA").version, "1")
        self.assertEqual(self.column([0, 0, 0, 0, 0, 0], "ACAAAA").version, "1, 1 s at tier C")

    def test_a_tool_that_falls_silent_before_the_load_does_is_told(self):
        self.assertEqual(self.column([0, 0, 0]).version, "1, silent after 3 s")

    def test_unknown_and_silence_differ_in_a_table(self):
        cells = report.row("tool", [None, "", 0.0, 31.46e6, 1.8e19])
        self.assertEqual(cells, "| tool | - |  | 0.0 | 31.5 | 1.8e+13 |")

    def test_a_picture_has_a_panel_for_each_tool_and_no_line_through_the_unknown(self):
        column = self.column([0, 10, None, 10, 10, 0])
        drawn = picture.draw(self.MASSINDEXER, [column, column], self.TRUTH, self.SPAN)
        self.assertEqual(drawn.count('class="tool"'), 2)
        self.assertEqual(drawn.count('class="truth"'), 2)
        line = next(row for row in drawn.splitlines() if 'class="line' in row)
        self.assertEqual(line.count("M"), 2, "it begins anew behind the unknown second")


if __name__ == "__main__":
    unittest.main()
