"""The attributes of a Sample. Written by python/tests/generate_sections.py: do not edit."""

from __future__ import annotations

# True for type checkers alone: `typing` is costly to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


class _Section:
    """Some metrics whose dotted names begin alike."""

    __slots__ = ("_sample",)

    def __init__(self, sample: Any) -> None:
        self._sample = sample


class _Processes(_Section):
    """The metrics `processes`."""

    __slots__ = ()

    @property
    def total(self) -> Optional[int]:
        """Members alive or waiting to be reaped, descendants included."""
        value: Optional[int] = self._sample._values["processes.total"]
        return value

    @property
    def matched(self) -> Optional[int]:
        """Members that match the selector themselves, not as descendants."""
        value: Optional[int] = self._sample._values["processes.matched"]
        return value

    @property
    def zombie(self) -> Optional[int]:
        """Members that have ended and wait to be reaped."""
        value: Optional[int] = self._sample._values["processes.zombie"]
        return value

    @property
    def ended(self) -> Optional[int]:
        """Members seen alive that have ended since the monitor started."""
        value: Optional[int] = self._sample._values["processes.ended"]
        return value

    @property
    def ended_per_sec(self) -> Optional[float]:
        """Members seen alive that have ended since the monitor started. Growth by the second."""
        value: Optional[float] = self._sample._values["processes.ended_per_sec"]
        return value


class _Cpu(_Section):
    """The metrics `cpu`."""

    __slots__ = ()

    @property
    def percent(self) -> Optional[float]:
        """CPU time over the interval as a share of one core, ended members included. In percent."""
        value: Optional[float] = self._sample._values["cpu.percent"]
        return value

    @property
    def user(self) -> Optional[float]:
        """CPU time in user mode, ended members included. In seconds."""
        value: Optional[float] = self._sample._values["cpu.user"]
        return value

    @property
    def user_per_sec(self) -> Optional[float]:
        """CPU time in user mode, ended members included. Growth by the second."""
        value: Optional[float] = self._sample._values["cpu.user_per_sec"]
        return value

    @property
    def system(self) -> Optional[float]:
        """CPU time in kernel mode, ended members included. In seconds."""
        value: Optional[float] = self._sample._values["cpu.system"]
        return value

    @property
    def system_per_sec(self) -> Optional[float]:
        """CPU time in kernel mode, ended members included. Growth by the second."""
        value: Optional[float] = self._sample._values["cpu.system_per_sec"]
        return value


class _Memory(_Section):
    """The metrics `memory`."""

    __slots__ = ()

    @property
    def rss(self) -> Optional[int]:
        """Resident memory; a page that several members share counts once for each of them. In bytes."""
        value: Optional[int] = self._sample._values["memory.rss"]
        return value

    @property
    def vms(self) -> Optional[int]:
        """Address space, whether or not memory stands behind it. In bytes."""
        value: Optional[int] = self._sample._values["memory.vms"]
        return value

    @property
    def shared(self) -> Optional[int]:
        """Resident memory backed by files or shared memory. In bytes."""
        value: Optional[int] = self._sample._values["memory.shared"]
        return value

    @property
    def text(self) -> Optional[int]:
        """Address space of code. In bytes."""
        value: Optional[int] = self._sample._values["memory.text"]
        return value

    @property
    def data(self) -> Optional[int]:
        """Address space of data and stack. In bytes."""
        value: Optional[int] = self._sample._values["memory.data"]
        return value

    @property
    def lib(self) -> Optional[int]:
        """Always 0 since Linux 2.6; kept for compatibility. In bytes."""
        value: Optional[int] = self._sample._values["memory.lib"]
        return value

    @property
    def dirty(self) -> Optional[int]:
        """Always 0 since Linux 2.6; kept for compatibility. In bytes."""
        value: Optional[int] = self._sample._values["memory.dirty"]
        return value

    @property
    def percent(self) -> Optional[float]:
        """Resident memory as a share of the machine's memory. In percent."""
        value: Optional[float] = self._sample._values["memory.percent"]
        return value

    @property
    def anon(self) -> Optional[int]:
        """Resident memory that no file stands behind: heap and stack. In bytes."""
        value: Optional[int] = self._sample._values["memory.anon"]
        return value

    @property
    def swap(self) -> Optional[int]:
        """Memory that was swapped out. In bytes."""
        value: Optional[int] = self._sample._values["memory.swap"]
        return value

    @property
    def pss(self) -> Optional[int]:
        """Resident memory with each shared page divided by those who share it; reading it stalls the process while its memory is walked. In bytes."""
        value: Optional[int] = self._sample._values["memory.pss"]
        return value

    @property
    def uss(self) -> Optional[int]:
        """Resident memory that nobody shares; reading it stalls the process while its memory is walked. In bytes."""
        value: Optional[int] = self._sample._values["memory.uss"]
        return value

    @property
    def peak(self) -> Optional[int]:
        """The largest resident memory seen since the monitor started; between samples it may have been more. In bytes."""
        value: Optional[int] = self._sample._values["memory.peak"]
        return value


class _Io(_Section):
    """The metrics `io`."""

    __slots__ = ()

    @property
    def read_count(self) -> Optional[int]:
        """System calls that read, ended members included."""
        value: Optional[int] = self._sample._values["io_counters.read_count"]
        return value

    @property
    def read_count_per_sec(self) -> Optional[float]:
        """System calls that read, ended members included. Growth by the second."""
        value: Optional[float] = self._sample._values["io_counters.read_count_per_sec"]
        return value

    @property
    def write_count(self) -> Optional[int]:
        """System calls that write, ended members included."""
        value: Optional[int] = self._sample._values["io_counters.write_count"]
        return value

    @property
    def write_count_per_sec(self) -> Optional[float]:
        """System calls that write, ended members included. Growth by the second."""
        value: Optional[float] = self._sample._values["io_counters.write_count_per_sec"]
        return value

    @property
    def read_bytes(self) -> Optional[int]:
        """Bytes fetched from the storage layer, ended members included. In bytes."""
        value: Optional[int] = self._sample._values["io_counters.read_bytes"]
        return value

    @property
    def read_bytes_per_sec(self) -> Optional[float]:
        """Bytes fetched from the storage layer, ended members included. Growth by the second."""
        value: Optional[float] = self._sample._values["io_counters.read_bytes_per_sec"]
        return value

    @property
    def write_bytes(self) -> Optional[int]:
        """Bytes sent to the storage layer, counted when a page is first dirtied, ended members included. In bytes."""
        value: Optional[int] = self._sample._values["io_counters.write_bytes"]
        return value

    @property
    def write_bytes_per_sec(self) -> Optional[float]:
        """Bytes sent to the storage layer, counted when a page is first dirtied, ended members included. Growth by the second."""
        value: Optional[float] = self._sample._values["io_counters.write_bytes_per_sec"]
        return value

    @property
    def read_chars(self) -> Optional[int]:
        """Bytes handed out by read(2) and its like, page cache and pipes included. In bytes."""
        value: Optional[int] = self._sample._values["io_counters.read_chars"]
        return value

    @property
    def read_chars_per_sec(self) -> Optional[float]:
        """Bytes handed out by read(2) and its like, page cache and pipes included. Growth by the second."""
        value: Optional[float] = self._sample._values["io_counters.read_chars_per_sec"]
        return value

    @property
    def write_chars(self) -> Optional[int]:
        """Bytes taken in by write(2) and its like, page cache and pipes included. In bytes."""
        value: Optional[int] = self._sample._values["io_counters.write_chars"]
        return value

    @property
    def write_chars_per_sec(self) -> Optional[float]:
        """Bytes taken in by write(2) and its like, page cache and pipes included. Growth by the second."""
        value: Optional[float] = self._sample._values["io_counters.write_chars_per_sec"]
        return value

    @property
    def cancelled_write_bytes(self) -> Optional[int]:
        """Bytes that were dirtied and then truncated away before they reached storage. In bytes."""
        value: Optional[int] = self._sample._values["io_counters.cancelled_write_bytes"]
        return value

    @property
    def cancelled_write_bytes_per_sec(self) -> Optional[float]:
        """Bytes that were dirtied and then truncated away before they reached storage. Growth by the second."""
        value: Optional[float] = self._sample._values["io_counters.cancelled_write_bytes_per_sec"]
        return value


class _PageFaults(_Section):
    """The metrics `page_faults`."""

    __slots__ = ()

    @property
    def minor(self) -> Optional[int]:
        """Page faults that needed no disk, ended members included."""
        value: Optional[int] = self._sample._values["page_faults.minor"]
        return value

    @property
    def minor_per_sec(self) -> Optional[float]:
        """Page faults that needed no disk, ended members included. Growth by the second."""
        value: Optional[float] = self._sample._values["page_faults.minor_per_sec"]
        return value

    @property
    def major(self) -> Optional[int]:
        """Page faults that waited for the disk, ended members included."""
        value: Optional[int] = self._sample._values["page_faults.major"]
        return value

    @property
    def major_per_sec(self) -> Optional[float]:
        """Page faults that waited for the disk, ended members included. Growth by the second."""
        value: Optional[float] = self._sample._values["page_faults.major_per_sec"]
        return value


class _CtxSwitches(_Section):
    """The metrics `ctx_switches`."""

    __slots__ = ()

    @property
    def voluntary(self) -> Optional[int]:
        """Times that a thread gave the CPU up to wait; those of exited threads and ended members are missing."""
        value: Optional[int] = self._sample._values["ctx_switches.voluntary"]
        return value

    @property
    def voluntary_per_sec(self) -> Optional[float]:
        """Times that a thread gave the CPU up to wait; those of exited threads and ended members are missing. Growth by the second."""
        value: Optional[float] = self._sample._values["ctx_switches.voluntary_per_sec"]
        return value

    @property
    def involuntary(self) -> Optional[int]:
        """Times that a thread was taken off the CPU; those of exited threads and ended members are missing."""
        value: Optional[int] = self._sample._values["ctx_switches.involuntary"]
        return value

    @property
    def involuntary_per_sec(self) -> Optional[float]:
        """Times that a thread was taken off the CPU; those of exited threads and ended members are missing. Growth by the second."""
        value: Optional[float] = self._sample._values["ctx_switches.involuntary_per_sec"]
        return value


class _Delays(_Section):
    """The metrics `delays`."""

    __slots__ = ()

    @property
    def cpu(self) -> Optional[float]:
        """Time that threads were ready to run and waited for a CPU, ended members included until they began to end. In seconds."""
        value: Optional[float] = self._sample._values["delays.cpu"]
        return value

    @property
    def cpu_per_sec(self) -> Optional[float]:
        """Time that threads were ready to run and waited for a CPU, ended members included until they began to end. Growth by the second."""
        value: Optional[float] = self._sample._values["delays.cpu_per_sec"]
        return value

    @property
    def block_io(self) -> Optional[float]:
        """Time that threads waited for block I/O, ended members included until they began to end. In seconds."""
        value: Optional[float] = self._sample._values["delays.block_io"]
        return value

    @property
    def block_io_per_sec(self) -> Optional[float]:
        """Time that threads waited for block I/O, ended members included until they began to end. Growth by the second."""
        value: Optional[float] = self._sample._values["delays.block_io_per_sec"]
        return value

    @property
    def swap(self) -> Optional[float]:
        """Time that threads waited for pages to be swapped in, ended members included until they began to end. In seconds."""
        value: Optional[float] = self._sample._values["delays.swap"]
        return value

    @property
    def swap_per_sec(self) -> Optional[float]:
        """Time that threads waited for pages to be swapped in, ended members included until they began to end. Growth by the second."""
        value: Optional[float] = self._sample._values["delays.swap_per_sec"]
        return value

    @property
    def reclaim(self) -> Optional[float]:
        """Time that threads spent freeing memory that they wanted to have, ended members included until they began to end. In seconds."""
        value: Optional[float] = self._sample._values["delays.reclaim"]
        return value

    @property
    def reclaim_per_sec(self) -> Optional[float]:
        """Time that threads spent freeing memory that they wanted to have, ended members included until they began to end. Growth by the second."""
        value: Optional[float] = self._sample._values["delays.reclaim_per_sec"]
        return value


class _ConnsTcp(_Section):
    """The metrics `conns.tcp`."""

    __slots__ = ()

    @property
    def total(self) -> Optional[int]:
        """TCP sockets in any state; one that members share counts once."""
        value: Optional[int] = self._sample._values["conns.tcp.total"]
        return value

    @property
    def established(self) -> Optional[int]:
        """Connections in use."""
        value: Optional[int] = self._sample._values["conns.tcp.established"]
        return value

    @property
    def syn_sent(self) -> Optional[int]:
        """Connections asked for and not yet answered."""
        value: Optional[int] = self._sample._values["conns.tcp.syn_sent"]
        return value

    @property
    def syn_recv(self) -> Optional[int]:
        """Connections that a peer asked for and has not yet confirmed."""
        value: Optional[int] = self._sample._values["conns.tcp.syn_recv"]
        return value

    @property
    def fin_wait1(self) -> Optional[int]:
        """Connections closed on this side, which the peer has not yet acknowledged."""
        value: Optional[int] = self._sample._values["conns.tcp.fin_wait1"]
        return value

    @property
    def fin_wait2(self) -> Optional[int]:
        """Connections closed on this side, which the peer has not yet closed on its own."""
        value: Optional[int] = self._sample._values["conns.tcp.fin_wait2"]
        return value

    @property
    def time_wait(self) -> Optional[int]:
        """Connections closed on both sides that wait for late segments."""
        value: Optional[int] = self._sample._values["conns.tcp.time_wait"]
        return value

    @property
    def close(self) -> Optional[int]:
        """Sockets that are bound but neither listen nor are connected any more."""
        value: Optional[int] = self._sample._values["conns.tcp.close"]
        return value

    @property
    def close_wait(self) -> Optional[int]:
        """Connections that the peer has closed and this side has not."""
        value: Optional[int] = self._sample._values["conns.tcp.close_wait"]
        return value

    @property
    def last_ack(self) -> Optional[int]:
        """Connections closed on both sides that wait for the peer's last acknowledgement."""
        value: Optional[int] = self._sample._values["conns.tcp.last_ack"]
        return value

    @property
    def listen(self) -> Optional[int]:
        """Sockets that wait for connections."""
        value: Optional[int] = self._sample._values["conns.tcp.listen"]
        return value

    @property
    def closing(self) -> Optional[int]:
        """Connections that both sides closed at the same moment."""
        value: Optional[int] = self._sample._values["conns.tcp.closing"]
        return value

    @property
    def none(self) -> Optional[int]:
        """TCP sockets in a state that has no name."""
        value: Optional[int] = self._sample._values["conns.tcp.none"]
        return value


class _ConnsUdp(_Section):
    """The metrics `conns.udp`."""

    __slots__ = ()

    @property
    def total(self) -> Optional[int]:
        """UDP sockets that are bound; one that members share counts once."""
        value: Optional[int] = self._sample._values["conns.udp.total"]
        return value


class _ConnsUnixSockets(_Section):
    """The metrics `conns.unix_sockets`."""

    __slots__ = ()

    @property
    def total(self) -> Optional[int]:
        """Unix sockets, bound or not; one that members share counts once."""
        value: Optional[int] = self._sample._values["conns.unix_sockets.total"]
        return value


class _Conns(_Section):
    """The metrics `conns`."""

    __slots__ = ()

    @property
    def tcp(self) -> _ConnsTcp:
        """The metrics `tcp`."""
        return _ConnsTcp(self._sample)

    @property
    def udp(self) -> _ConnsUdp:
        """The metrics `udp`."""
        return _ConnsUdp(self._sample)

    @property
    def unix_sockets(self) -> _ConnsUnixSockets:
        """The metrics `unix_sockets`."""
        return _ConnsUnixSockets(self._sample)


class _NetTcp(_Section):
    """The metrics `net.tcp`."""

    __slots__ = ()

    @property
    def sent_bytes(self) -> Optional[int]:
        """Bytes of data sent over TCP and acknowledged by the peer, over connections that ended included. In bytes."""
        value: Optional[int] = self._sample._values["net.tcp.sent_bytes"]
        return value

    @property
    def sent_bytes_per_sec(self) -> Optional[float]:
        """Bytes of data sent over TCP and acknowledged by the peer, over connections that ended included. Growth by the second."""
        value: Optional[float] = self._sample._values["net.tcp.sent_bytes_per_sec"]
        return value

    @property
    def received_bytes(self) -> Optional[int]:
        """Bytes of data received over TCP, over connections that ended included. In bytes."""
        value: Optional[int] = self._sample._values["net.tcp.received_bytes"]
        return value

    @property
    def received_bytes_per_sec(self) -> Optional[float]:
        """Bytes of data received over TCP, over connections that ended included. Growth by the second."""
        value: Optional[float] = self._sample._values["net.tcp.received_bytes_per_sec"]
        return value

    @property
    def retransmits(self) -> Optional[int]:
        """TCP segments sent again because the peer did not acknowledge them in time."""
        value: Optional[int] = self._sample._values["net.tcp.retransmits"]
        return value

    @property
    def retransmits_per_sec(self) -> Optional[float]:
        """TCP segments sent again because the peer did not acknowledge them in time. Growth by the second."""
        value: Optional[float] = self._sample._values["net.tcp.retransmits_per_sec"]
        return value


class _Net(_Section):
    """The metrics `net`."""

    __slots__ = ()

    @property
    def tcp(self) -> _NetTcp:
        """The metrics `tcp`."""
        return _NetTcp(self._sample)


class Sections:
    """Every metric of a Sample by attribute."""

    __slots__ = ()

    @property
    def processes(self) -> _Processes:
        """The metrics `processes`."""
        return _Processes(self)

    @property
    def uptime(self) -> Optional[float]:
        """Time since the oldest member started. In seconds."""
        value: Optional[float] = self._number("uptime")
        return value

    @property
    def cpu(self) -> _Cpu:
        """The metrics `cpu`."""
        return _Cpu(self)

    @property
    def memory(self) -> _Memory:
        """The metrics `memory`."""
        return _Memory(self)

    @property
    def io(self) -> _Io:
        """The metrics `io`."""
        return _Io(self)

    @property
    def page_faults(self) -> _PageFaults:
        """The metrics `page_faults`."""
        return _PageFaults(self)

    @property
    def threads(self) -> Optional[int]:
        """Living threads."""
        value: Optional[int] = self._number("threads")
        return value

    @property
    def fds(self) -> Optional[int]:
        """Open file descriptors."""
        value: Optional[int] = self._number("fds")
        return value

    @property
    def fds_worst_percent(self) -> Optional[float]:
        """Open file descriptors as a share of the soft limit, of the member that is closest to its own. In percent."""
        value: Optional[float] = self._number("fds.worst_percent")
        return value

    @property
    def ctx_switches(self) -> _CtxSwitches:
        """The metrics `ctx_switches`."""
        return _CtxSwitches(self)

    @property
    def delays(self) -> _Delays:
        """The metrics `delays`."""
        return _Delays(self)

    @property
    def conns(self) -> _Conns:
        """The metrics `conns`."""
        return _Conns(self)

    @property
    def net(self) -> _Net:
        """The metrics `net`."""
        return _Net(self)

    def _number(self, name: str) -> Any:
        raise NotImplementedError
