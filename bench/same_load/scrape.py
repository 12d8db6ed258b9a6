"""`MOMENT TOTAL` each second: the counter of one group of process-exporter, as Prometheus would scrape it.

A group that is not there is `-`. The exporter answers a while after its start.
"""

import sys
import time
import urllib.request

COUNTER = "namedprocess_namegroup_write_bytes_total"


def total(page, group):
    """The counter of a group on a page of metrics; `-` where it is not on it."""
    for line in page.splitlines():
        if line.startswith(COUNTER + "{") and f'groupname="{group}"' in line:
            return line.split()[-1]
    return "-"


def main(port, group):
    while True:
        begin = time.time()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                page = answer.read().decode()
        except OSError:
            page = ""
        print(f"{time.time():.3f} {total(page, group)}", flush=True)
        time.sleep(max(begin + 1 - time.time(), 0))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
