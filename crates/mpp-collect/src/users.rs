//! Names of users: `/etc/passwd` first, passwd(5), then whatever else this machine asks, nss(5).
//!
//! Asking means LDAP, SSSD or a plug-in over the network, and any of them can hang. So only a
//! helper thread asks, for at most [`LOOKUP_DEADLINE`]; whoever waits goes on with the number,
//! and while one question hangs the next ones are not waited for at all. Answers are remembered,
//! also that there is no such user.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use rustix::io::Errno;

use crate::sys;

/// How long a question may take before the number has to do.
pub const LOOKUP_DEADLINE: Duration = Duration::from_millis(500);

/// How long nobody waits for an answer after one did not come in time.
const PATIENCE_RETURNS_AFTER: Duration = Duration::from_secs(30);
/// How long a user is remembered, and that there is none.
const KNOWN_FOR: Duration = Duration::from_secs(600);
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// Answers remembered at most; then all are forgotten and asked for again.
const REMEMBERED_MAX: usize = 4096;
/// Questions that may hang at one time.
const ASKING_MAX: usize = 2;
/// Larger files of users are not read; their users are asked for instead.
const PASSWD_BYTES_MAX: usize = 16 << 20;

/// What came of looking a user up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// There is one.
    Found(T),
    /// There is none.
    NoSuchUser,
    /// It could not be found out: nobody answered in time, or the question failed.
    Unanswered,
}

/// Looks users up, by name and by number.
#[derive(Debug)]
pub struct UserNames {
    passwd: Passwd,
    asked: HashMap<Question, Remembered>,
    ask: fn(&Question) -> Lookup<Answer>,
    asking: usize,
    sender: Sender<(Question, Lookup<Answer>)>,
    receiver: Receiver<(Question, Lookup<Answer>)>,
    impatient_until: Option<Instant>,
    unanswered: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    UidOf(Box<[u8]>),
    NameOf(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Uid(u32),
    Name(Arc<[u8]>),
}

#[derive(Debug)]
struct Remembered {
    lookup: Lookup<Answer>,
    until: Instant,
}

impl Default for UserNames {
    fn default() -> Self {
        UserNames::new("/etc/passwd", ask_nss)
    }
}

impl UserNames {
    fn new(passwd: impl Into<PathBuf>, ask: fn(&Question) -> Lookup<Answer>) -> Self {
        let (sender, receiver) = channel();
        UserNames {
            passwd: Passwd { path: passwd.into(), stamp: None, users: Users::default() },
            asked: HashMap::new(),
            ask,
            asking: 0,
            sender,
            receiver,
            impatient_until: None,
            unanswered: 0,
        }
    }

    /// The number of the user with this name. A name is never taken for a number here.
    pub fn uid_of(&mut self, name: &[u8]) -> Lookup<u32> {
        if let Some(uid) = self.passwd.users().uid_of(name) {
            return Lookup::Found(uid);
        }
        match self.look_up(&Question::UidOf(name.into())) {
            Lookup::Found(Answer::Uid(uid)) => Lookup::Found(uid),
            Lookup::Found(Answer::Name(_)) | Lookup::Unanswered => Lookup::Unanswered,
            Lookup::NoSuchUser => Lookup::NoSuchUser,
        }
    }

    /// The name of the user with this number: the first where it has several. Any bytes.
    pub fn name_of(&mut self, uid: u32) -> Lookup<Arc<[u8]>> {
        if let Some(name) = self.passwd.users().name_of(uid) {
            return Lookup::Found(name);
        }
        match self.look_up(&Question::NameOf(uid)) {
            Lookup::Found(Answer::Name(name)) => Lookup::Found(name),
            Lookup::Found(Answer::Uid(_)) | Lookup::Unanswered => Lookup::Unanswered,
            Lookup::NoSuchUser => Lookup::NoSuchUser,
        }
    }

    /// How many look-ups ended without an answer since the start. Only grows.
    #[must_use]
    pub fn unanswered_total(&self) -> u64 {
        self.unanswered
    }

    fn look_up(&mut self, question: &Question) -> Lookup<Answer> {
        self.take_in_late_answers();
        let now = Instant::now();
        if let Some(remembered) = self.asked.get(question).filter(|known| now < known.until) {
            return remembered.lookup.clone();
        }
        let is_impatient = self.impatient_until.is_some_and(|until| now < until);
        let lookup = if is_impatient || self.asking >= ASKING_MAX || !self.start_asking(question) {
            Lookup::Unanswered
        } else {
            self.await_answer(question, now + LOOKUP_DEADLINE)
        };
        self.unanswered += u64::from(lookup == Lookup::Unanswered);
        lookup
    }

    /// Lets a thread of its own ask; whether one could be started.
    fn start_asking(&mut self, question: &Question) -> bool {
        let (ask, sender, question) = (self.ask, self.sender.clone(), question.clone());
        let thread = Builder::new().name("mpp-users".to_owned()).spawn(move || {
            let lookup = ask(&question);
            // Nobody is there to hear it any more when the asker is gone.
            let _ = sender.send((question, lookup));
        });
        self.asking += usize::from(thread.is_ok());
        thread.is_ok()
    }

    fn await_answer(&mut self, question: &Question, deadline: Instant) -> Lookup<Answer> {
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            let Ok((answered, lookup)) = self.receiver.recv_timeout(wait) else {
                self.impatient_until = Some(Instant::now() + PATIENCE_RETURNS_AFTER);
                return Lookup::Unanswered;
            };
            let is_ours = answered == *question;
            self.remember(answered, lookup.clone());
            if is_ours {
                return lookup;
            }
        }
    }

    fn take_in_late_answers(&mut self) {
        while let Ok((question, lookup)) = self.receiver.try_recv() {
            self.remember(question, lookup);
            self.impatient_until = None;
        }
    }

    fn remember(&mut self, question: Question, lookup: Lookup<Answer>) {
        self.asking = self.asking.saturating_sub(1);
        let lasts = match lookup {
            Lookup::Found(_) => KNOWN_FOR,
            Lookup::NoSuchUser => UNKNOWN_FOR,
            Lookup::Unanswered => return,
        };
        if self.asked.len() >= REMEMBERED_MAX {
            self.asked.clear();
        }
        self.asked.insert(question, Remembered { lookup, until: Instant::now() + lasts });
    }
}

/// The file of users, read again whenever it has changed.
#[derive(Debug)]
struct Passwd {
    path: PathBuf,
    stamp: Option<Stamp>,
    users: Users,
}

/// What changes when a file does: device, inode, length, time of change. How wide each is
/// depends on the machine; here they only have to differ.
type Stamp = [i128; 5];

impl Passwd {
    /// The users of the file; none where it cannot be read.
    fn users(&mut self) -> &Users {
        let stamp = sys::retrying(|| stat(&self.path)).ok().map(|file| {
            let time = (file.st_ctime, file.st_ctime_nsec);
            [
                file.st_dev.into(),
                file.st_ino.into(),
                file.st_size.into(),
                time.0.into(),
                time.1.into(),
            ]
        });
        if stamp != self.stamp {
            self.users = self.read().map(|bytes| Users::parse(&bytes)).unwrap_or_default();
            self.stamp = stamp;
        }
        &self.users
    }

    fn read(&self) -> Result<Vec<u8>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = sys::retrying(|| openat(CWD, &self.path, flags, Mode::empty()))?;
        let size = sys::retrying(|| fstat(&file))?.st_size;
        let size = usize::try_from(size).map_err(|_| Errno::FBIG)?;
        if size > PASSWD_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        let mut bytes = vec![0; size];
        let mut length = 0;
        while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match sys::retrying(|| rustix::io::read(&file, &mut *rest))? {
                0 => break,
                count => length += count,
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// The users of a file in the format of passwd(5); of equal names or numbers the first counts.
#[derive(Debug, Default)]
struct Users {
    uids: HashMap<Arc<[u8]>, u32>,
    names: HashMap<u32, Arc<[u8]>>,
}

impl Users {
    fn parse(bytes: &[u8]) -> Self {
        let mut users = Users::default();
        for (name, uid) in bytes.split(|byte| *byte == b'\n').filter_map(user_of_line) {
            let name: Arc<[u8]> = name.into();
            users.uids.entry(Arc::clone(&name)).or_insert(uid);
            users.names.entry(uid).or_insert(name);
        }
        users
    }

    fn uid_of(&self, name: &[u8]) -> Option<u32> {
        self.uids.get(name).copied()
    }

    fn name_of(&self, uid: u32) -> Option<Arc<[u8]>> {
        self.names.get(&uid).cloned()
    }
}

/// Name and number of a line. Returns `None` for comments, for the `+` and `-` of NIS, and for
/// lines that are not whole.
fn user_of_line(line: &[u8]) -> Option<(&[u8], u32)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next()?;
    let uid = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    // The group, without which the line was cut.
    fields.next()?;
    let is_user = !matches!(name.first(), None | Some(b'#' | b'+' | b'-'));
    is_user.then_some((name, uid))
}

/// Asks the C library, which asks whatever nsswitch.conf(5) names.
///
/// A static program cannot: the C library would load plug-ins of a version it was not built with.
fn ask_nss(question: &Question) -> Lookup<Answer> {
    if cfg!(target_feature = "crt-static") {
        return Lookup::NoSuchUser;
    }
    match question {
        Question::NameOf(uid) => ask_nss_with(
            // SAFETY: the record, the buffer with its length, and the place for the outcome are
            // all ours and live during the call.
            |record, buffer, length, found| unsafe {
                libc::getpwuid_r(*uid, record, buffer, length, found)
            },
            |_, name| Answer::Name(name.to_bytes().into()),
        ),
        Question::UidOf(name) => {
            let Ok(name) = CString::new(&**name) else { return Lookup::NoSuchUser };
            ask_nss_with(
                // SAFETY: as above, and the name ends with NUL.
                |record, buffer, length, found| unsafe {
                    libc::getpwnam_r(name.as_ptr(), record, buffer, length, found)
                },
                |uid, _| Answer::Uid(uid),
            )
        }
    }
}

/// Calls one of the two functions, with a larger buffer as often as it asks for one.
fn ask_nss_with(
    mut call: impl FnMut(
        *mut libc::passwd,
        *mut libc::c_char,
        usize,
        *mut *mut libc::passwd,
    ) -> libc::c_int,
    answer: impl FnOnce(u32, &CStr) -> Answer,
) -> Lookup<Answer> {
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut record = MaybeUninit::uninit();
        let mut found = std::ptr::null_mut();
        let code = call(record.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found);
        match code {
            0 if found.is_null() => return Lookup::NoSuchUser,
            0 => {
                // SAFETY: the function says that it has filled the record.
                let record = unsafe { record.assume_init() };
                // SAFETY: its name points into the buffer, which is still there, and ends with NUL.
                let name = unsafe { CStr::from_ptr(record.pw_name) };
                return Lookup::Found(answer(record.pw_uid, name));
            }
            libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            // Some say so instead of finding nothing, getpwnam(3).
            libc::ENOENT | libc::ESRCH => return Lookup::NoSuchUser,
            libc::EINTR => {}
            _ => return Lookup::Unanswered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# old:x:7:7::/:\n+nis::8:8::/:\n\
        max:x:1000:1000:Max,,,:/home/max:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n\
        cut:x:1001\nword:x:abc:1::/:\n:x:9:9::/:\nmax:x:1002:1002::/:\n";

    fn nobody_answers(_: &Question) -> Lookup<Answer> {
        Lookup::NoSuchUser
    }

    #[test]
    fn the_file_of_users_is_read_as_its_page_says() {
        let users = Users::parse(PASSWD.as_bytes());
        fn check(users: &Users, name: &str, expected: Option<u32>) {
            assert_eq!(users.uid_of(name.as_bytes()), expected, "{name}");
        }
        check(&users, "root", Some(0));
        check(&users, "toor", Some(0));
        check(&users, "max", Some(1000));
        for name in ["# old", "+nis", "cut", "word", "", "Max"] {
            check(&users, name, None);
        }
        assert_eq!(users.name_of(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(users.name_of(1002).as_deref(), Some(&b"max"[..]));
        assert_eq!(users.name_of(1001), None);
    }

    #[test]
    fn names_may_be_any_bytes() {
        let users = Users::parse(b"caf\xe9:x:1:1::/:\n");
        assert_eq!(users.uid_of(b"caf\xe9"), Some(1));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut names = UserNames::new(file.path(), nobody_answers);
        assert_eq!(names.uid_of(b"sam"), Lookup::NoSuchUser);
        file.write_all(b"sam:x:5:5::/:\n").unwrap();
        assert_eq!(names.uid_of(b"sam"), Lookup::Found(5));
        assert_eq!(names.name_of(5), Lookup::Found(b"sam"[..].into()));
    }

    #[test]
    fn this_machines_root_is_found_both_ways() {
        let mut names = UserNames::default();
        assert_eq!(names.uid_of(b"root"), Lookup::Found(0));
        assert_eq!(names.name_of(0), Lookup::Found(b"root"[..].into()));
        let mut nss = UserNames::new("/nonexistent", ask_nss);
        assert_eq!(nss.uid_of(b"root"), Lookup::Found(0));
        assert_eq!(nss.name_of(0), Lookup::Found(b"root"[..].into()));
        assert_eq!(nss.uid_of(b"no such user\0"), Lookup::NoSuchUser);
        assert_eq!(nss.uid_of(b"no-such-user"), Lookup::NoSuchUser);
    }

    #[test]
    fn an_answer_is_asked_for_once_also_when_there_is_none() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        fn count(question: &Question) -> Lookup<Answer> {
            ASKED.fetch_add(1, Ordering::Relaxed);
            match question {
                Question::UidOf(_) => Lookup::NoSuchUser,
                Question::NameOf(_) => Lookup::Found(Answer::Name(b"remote"[..].into())),
            }
        }
        let mut names = UserNames::new("/nonexistent", count);
        for _ in 0..3 {
            assert_eq!(names.uid_of(b"gone"), Lookup::NoSuchUser);
            assert_eq!(names.name_of(7), Lookup::Found(b"remote"[..].into()));
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_question_that_hangs_is_counted_and_its_late_answer_still_counts() {
        static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
        fn hang(_: &Question) -> Lookup<Answer> {
            let opened = GATE.1.wait_while(GATE.0.lock().unwrap(), |is_open| !*is_open);
            drop(opened.unwrap());
            Lookup::Found(Answer::Uid(77))
        }
        let mut names = UserNames::new("/nonexistent", hang);
        assert_eq!(names.uid_of(b"ldap"), Lookup::Unanswered);
        let asking = names.asking;
        for name in [&b"a"[..], b"b", b"c"] {
            assert_eq!(names.uid_of(name), Lookup::Unanswered);
        }
        assert_eq!(names.asking, asking, "nobody is asked while one hangs");
        assert_eq!(names.unanswered_total(), 4);
        *GATE.0.lock().unwrap() = true;
        GATE.1.notify_all();
        while names.asking > 0 {
            names.take_in_late_answers();
        }
        assert_eq!(names.uid_of(b"ldap"), Lookup::Found(77));
    }

    #[test]
    fn an_unreadable_file_of_users_leaves_the_question_to_the_others() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), PASSWD).unwrap();
        let (lookup, calls) = sys::fault::with_failure(u64::MAX, Errno::IO, || {
            UserNames::new(file.path(), nobody_answers).uid_of(b"max")
        });
        assert_eq!(lookup, Lookup::Found(1000));
        for n in 0..calls {
            let (lookup, _) = sys::fault::with_failure(n, Errno::IO, || {
                UserNames::new(file.path(), nobody_answers).uid_of(b"max")
            });
            assert_eq!(lookup, Lookup::NoSuchUser, "call {n}");
        }
    }
}
