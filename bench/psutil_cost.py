"""What the same sample costs with psutil: the figures of every process, once a second.

Usage: psutil_cost.py [--samples N] [--interval SECONDS] [--connections each|once]
Prints one line of KEY=VALUE words.
"""

import argparse
import contextlib
import resource
import time

import psutil

WARM_UPS = 2

FIGURES = [
    "pid", "name", "username", "ppid", "create_time", "memory_info", "cpu_times",
    "io_counters", "num_threads", "num_fds", "num_ctx_switches",
]


def sample(connections):
    """Reads every process and returns how many there were."""
    processes = 0
    for pid in psutil.pids():
        try:
            # Not process_iter(): it keeps objects, and with them what they once read.
            process = psutil.Process(pid)
            process.as_dict(FIGURES)
            if connections == "each":
                # What ours counts too: TCP, UDP and unix sockets.
                with contextlib.suppress(psutil.AccessDenied):
                    process.net_connections(kind="all")
        except psutil.NoSuchProcess:
            continue
        processes += 1
    if connections == "once":
        psutil.net_connections(kind="all")
    return processes


def cpu_us():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def status_kib(key):
    """A line of our own status; of the peak too, since ru_maxrss is inherited from whoever
    started this."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--connections", choices=["each", "once"])
    arguments = parser.parse_args()

    # One that is asked for alone takes half a minute, and remembers nothing of those before.
    for _ in range(min(WARM_UPS, arguments.samples - 1)):
        sample(arguments.connections)
        time.sleep(arguments.interval)
    before, processes = cpu_us(), 0
    for _ in range(arguments.samples):
        processes += sample(arguments.connections)
        time.sleep(arguments.interval)
    cost = (cpu_us() - before) / processes
    print(f"cpu_us_per_process={cost:.3f} processes={processes // arguments.samples}"
          f" peak_rss_kib={status_kib('VmHWM:')} anonymous_kib={status_kib('RssAnon:')}")


if __name__ == "__main__":
    main()
