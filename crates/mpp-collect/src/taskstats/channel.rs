//! A generic netlink socket, and a room into which it hands many messages at a time.

use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use mpp_parse::netlink::{Body, messages};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with};

use crate::sys;

/// Messages taken with one system call.
pub(super) const BATCH: usize = 32;
/// More than a record of a thread and its process has (1,172 bytes in version 16).
const SLOT_BYTES: usize = 2048;

/// A socket that talks to the kernel's generic netlink.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
}

/// Room for a batch of datagrams.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    envelopes: [Envelope; BATCH],
    count: usize,
    forged: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Envelope {
    length: usize,
    /// Whether the kernel has sent it: anybody may send to a netlink socket.
    is_from_kernel: bool,
}

impl Channel {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Errno> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let protocol = Some(netlink::GENERIC);
        let socket = sys::retrying(|| socket_with(family, SocketType::RAW, flags, protocol))?;
        Ok(Channel { socket })
    }

    /// Sends messages to the kernel, which answers before this returns.
    pub(super) fn send(&self, datagram: &[u8]) -> Result<(), Errno> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sys::retrying(|| sendto(&self.socket, datagram, SendFlags::empty(), &kernel)).map(|_| ())
    }

    /// The payload of the answer of a kind to the request with this number, among others that
    /// are thrown away; empty where the kernel only acknowledges, for which the kind is `None`.
    ///
    /// # Errors
    /// The kernel's refusal; ENOMSG where there is no answer.
    pub(super) fn answer<'i>(
        &self,
        inbox: &'i mut Inbox,
        kind: Option<u16>,
        sequence: u32,
    ) -> Result<&'i [u8], Errno> {
        loop {
            if inbox.fill(&self.socket)? == 0 {
                return Err(Errno::NOMSG);
            }
            // Looked for twice, since what was found cannot be kept while the next are awaited.
            if inbox.answer(kind, sequence).is_some() {
                break;
            }
        }
        inbox.answer(kind, sequence).unwrap_or(Err(Errno::NOMSG))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        let bytes = vec![0; BATCH * SLOT_BYTES].into();
        Inbox { bytes, envelopes: [Envelope::default(); BATCH], count: 0, forged: 0 }
    }

    /// Replaces what is in here by what has come to a socket; how many datagrams that is. 0 when
    /// there are none.
    ///
    /// # Errors
    /// ENOBUFS, once, when the kernel has dropped some since the last call.
    pub(super) fn fill(&mut self, socket: impl AsFd) -> Result<usize, Errno> {
        self.count = 0;
        // SAFETY: zero is a value of every field of these plain C structs.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: likewise.
        let mut senders: [libc::sockaddr_nl; BATCH] = unsafe { mem::zeroed() };
        let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        let slots = self.bytes.chunks_exact_mut(SLOT_BYTES);
        for (((header, sender), piece), slot) in
            headers.iter_mut().zip(&mut senders).zip(&mut pieces).zip(slots)
        {
            *piece = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            header.msg_hdr.msg_iov = ptr::from_mut(piece);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = ptr::from_mut(sender).cast();
            header.msg_hdr.msg_namelen = NAME_BYTES;
        }
        let received = sys::retrying(|| receive(socket.as_fd(), &mut headers));
        let count = match received {
            Err(Errno::AGAIN) => 0,
            outcome => outcome?,
        };
        for ((envelope, header), sender) in
            self.envelopes.iter_mut().zip(&headers).zip(&senders).take(count)
        {
            let length = usize::try_from(header.msg_len).unwrap_or(usize::MAX);
            envelope.length = length.min(SLOT_BYTES);
            envelope.is_from_kernel =
                header.msg_hdr.msg_namelen == NAME_BYTES && sender.nl_pid == 0;
            self.forged += u64::from(!envelope.is_from_kernel);
        }
        self.count = count;
        Ok(count)
    }

    /// Datagrams so far that somebody else than the kernel has sent. Only grows.
    pub(super) fn forged_total(&self) -> u64 {
        self.forged
    }

    /// What the last call of [`Inbox::fill`] has brought from the kernel, as far as there was room
    /// for it. What others have sent is counted and left out.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let slots = self.bytes.chunks_exact(SLOT_BYTES).zip(&self.envelopes).take(self.count);
        let of_kernel = slots.filter(|(_, envelope)| envelope.is_from_kernel);
        of_kernel.map(|(slot, envelope)| slot.get(..envelope.length).unwrap_or_default())
    }

    /// The kernel's answer of a kind with this number, if it is in here.
    fn answer(&self, kind: Option<u16>, sequence: u32) -> Option<Result<&[u8], Errno>> {
        let all = self.datagrams().flat_map(messages).flatten();
        // A record of an ended thread may by chance have the number of a request.
        all.filter(|message| message.header.sequence == sequence).find_map(|message| match message
            .body()
        {
            Ok(Body::Payload(payload)) if kind == Some(message.header.kind) => Some(Ok(payload)),
            Ok(Body::Error { errno: 0 }) => Some(Ok(&[][..])),
            Ok(Body::Error { errno }) => Some(Err(errno_of(errno))),
            _ => None,
        })
    }
}

/// The errno that an error message says.
pub(super) fn errno_of(number: u32) -> Errno {
    Errno::from_raw_os_error(i32::try_from(number).unwrap_or(i32::MAX))
}

#[expect(clippy::cast_possible_truncation, reason = "it is 12")]
const NAME_BYTES: libc::socklen_t = size_of::<libc::sockaddr_nl>() as libc::socklen_t;

/// Takes as many datagrams as have come and fit, without waiting: recvmmsg(2).
fn receive(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr; BATCH]) -> Result<usize, Errno> {
    let room = libc::c_uint::try_from(BATCH).unwrap_or(0);
    // SAFETY: each header points to a name and a piece of memory that outlive the call and that
    // nobody else refers to, with their true lengths.
    let returned = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            room,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    usize::try_from(returned).map_err(|_| sys::last_errno())
}
