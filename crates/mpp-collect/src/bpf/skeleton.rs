//! A light skeleton: a compiled BPF object that loads itself.
//!
//! It is a program that makes system calls, and the data it works on: the maps and programs to
//! be made. The kernel runs it once, with a context in which we say how large maps shall be and
//! in which it leaves the descriptors of what it has made. Where fields lie in this kernel's
//! structures is found out by the kernel (since about Linux 5.17), so nothing is looked up here.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::syscall::{self, Map};

/// `struct bpf_loader_ctx`: size, flags, log level, log size, address of the log.
const HEADER: usize = 24;
/// `struct bpf_map_desc`: descriptor, entries, address of the first value.
const MAP: usize = 16;
/// `struct bpf_prog_desc`: descriptor.
const PROGRAM: usize = 4;
/// The map with the constants of the programs, as bpftool names it.
const CONSTANTS: &str = "rodata";

/// A compiled object.
#[derive(Debug)]
pub(super) struct Skeleton {
    /// The data, then the instructions.
    pub(super) bytes: &'static [u8],
    /// Bytes of the data.
    pub(super) data_length: usize,
    /// The names of its maps, in order.
    pub(super) maps: &'static [&'static str],
    /// The names of its programs, in order.
    pub(super) programs: &'static [&'static str],
}

/// How an object shall be loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    /// The constants of its programs, in the order of their definition.
    pub(super) constants: &'a [u32],
    /// Maps that shall have another size than the sources say.
    pub(super) sizes: &'a [(&'static str, u32)],
}

/// What was loaded; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Loaded {
    maps: Vec<(&'static str, OwnedFd)>,
    programs: Vec<(&'static str, OwnedFd)>,
}

/// What was being done when loading failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Making the first map, which anything else needs.
    Prepare,
    /// Loading the program that loads the others.
    LoadLoader,
    /// Loading the others.
    LoadPrograms,
    /// Letting them run.
    Attach,
    /// Anything else.
    Other,
}

/// Why loading failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

impl Failure {
    /// Says of a failure at which step it was.
    pub(super) fn at(step: Step) -> impl Fn(Errno) -> Failure {
        move |errno| Failure { step, errno }
    }
}

impl Skeleton {
    /// Makes its maps and loads its programs.
    ///
    /// # Errors
    /// The first thing that failed; nothing is left behind.
    pub(super) fn load(&self, settings: Settings<'_>) -> Result<Loaded, Failure> {
        let (data, instructions) = self
            .bytes
            .split_at_checked(self.data_length)
            .ok_or(Failure { step: Step::Other, errno: Errno::INVAL })?;
        let data_length =
            u32::try_from(data.len()).map_err(|_| Failure::at(Step::Other)(Errno::TOOBIG))?;
        let map = Map::of_one(b"mpp_loader", data_length).map_err(Failure::at(Step::Prepare))?;
        map.set(0, data).map_err(Failure::at(Step::Prepare))?;
        let loader =
            syscall::load_loader(instructions, &map).map_err(Failure::at(Step::LoadLoader))?;
        let constants: Vec<u8> =
            settings.constants.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let mut context = Context::new(self, settings.sizes, &constants);
        // The constants live until the program has returned.
        let returned = syscall::run(std::os::fd::AsFd::as_fd(&loader), &mut context.bytes)
            .map_err(Failure::at(Step::LoadPrograms))?;
        if returned < 0 {
            let errno = Errno::from_raw_os_error(returned.saturating_neg());
            return Err(Failure { step: Step::LoadPrograms, errno });
        }
        context.descriptors(self)
    }
}

impl Loaded {
    /// Takes a map out.
    pub(super) fn map(&mut self, name: &str) -> Result<Map, Failure> {
        let fd = take(&mut self.maps, name)?;
        Map::adopt(fd).map_err(Failure::at(Step::Other))
    }

    /// Takes a program out.
    pub(super) fn program(&mut self, name: &str) -> Result<OwnedFd, Failure> {
        take(&mut self.programs, name)
    }
}

fn take(from: &mut Vec<(&'static str, OwnedFd)>, name: &str) -> Result<OwnedFd, Failure> {
    let position = from.iter().position(|(known, _)| *known == name);
    let position = position.ok_or(Failure { step: Step::Other, errno: Errno::NOENT })?;
    Ok(from.swap_remove(position).1)
}

/// What the loading program is told, and where it leaves the descriptors.
struct Context {
    bytes: Vec<u8>,
}

impl Context {
    fn new(skeleton: &Skeleton, sizes: &[(&'static str, u32)], constants: &[u8]) -> Self {
        let length = HEADER + MAP * skeleton.maps.len() + PROGRAM * skeleton.programs.len();
        let mut context = Context { bytes: vec![0; length] };
        context.put(0, &u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        for (index, name) in skeleton.maps.iter().enumerate() {
            let place = HEADER + MAP * index;
            if let Some((_, entries)) = sizes.iter().find(|(known, _)| known == name) {
                context.put(place + 4, &entries.to_ne_bytes());
            }
            if *name == CONSTANTS {
                let address = constants.as_ptr().expose_provenance() as u64;
                context.put(place + 8, &address.to_ne_bytes());
            }
        }
        context
    }

    fn put(&mut self, place: usize, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(place).zip(bytes) {
            *to = *from;
        }
    }

    fn descriptors(&self, skeleton: &Skeleton) -> Result<Loaded, Failure> {
        let programs = HEADER + MAP * skeleton.maps.len();
        let at = |begin: usize, step: usize| move |index: usize| begin + step * index;
        Ok(Loaded {
            maps: self.take(skeleton.maps, at(HEADER, MAP))?,
            programs: self.take(skeleton.programs, at(programs, PROGRAM))?,
        })
    }

    fn take(
        &self,
        names: &[&'static str],
        place_of: impl Fn(usize) -> usize,
    ) -> Result<Vec<(&'static str, OwnedFd)>, Failure> {
        let places = names.iter().enumerate();
        let owned = places.map(|(index, name)| {
            let bytes = self.bytes.get(place_of(index)..).and_then(|bytes| bytes.first_chunk());
            let fd = bytes.map(|bytes| RawFd::from_ne_bytes(*bytes)).filter(|fd| *fd > 0);
            let fd = fd.ok_or(Failure { step: Step::LoadPrograms, errno: Errno::BADF })?;
            // SAFETY: the program has just opened it in this process and told nobody but us;
            // each place of the context is read once.
            Ok((*name, unsafe { OwnedFd::from_raw_fd(fd) }))
        });
        owned.collect()
    }
}
