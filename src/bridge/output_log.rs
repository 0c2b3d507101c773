//! Where the output of applications goes (`python_log`): what they print and log, and their tracebacks.
//!
//! Whoever has a record writes it to its file itself, with one write(2) on a descriptor that appends: so it is there
//! even if the worker dies next, nobody's records are mixed with others', and the event loop does not wait for a disk. The
//! descriptor is this worker's own copy of nginx's. Its number never changes: when the logs are reopened, the event
//! loop lets it lead to the new file (`dup3(2)`), while threads write.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::log::Level;
use super::sync::{Arc, Mutex, lock};

/// A `python_log`.
#[derive(Clone, Debug)]
pub(crate) struct OutputLog {
    pub(crate) to: Destination,
    pub(crate) json: bool,
    /// What is less important is left out.
    pub(crate) level: Level,
}

#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// nginx's error log, line by line.
    ErrorLog,
    Nowhere,
    File(Arc<RecordFile>),
    /// The event loop sends it to the syslog of that number.
    Syslog(usize),
}

impl Default for OutputLog {
    fn default() -> Self {
        Self { to: Destination::ErrorLog, json: false, level: Level::Debug }
    }
}

impl OutputLog {
    /// What it takes of records of that level.
    pub(crate) fn form(&self, level: Level) -> Option<Form> {
        if level > self.level {
            return None;
        }
        match &self.to {
            Destination::Nowhere => None,
            Destination::ErrorLog => Some(Form::Lines),
            Destination::File(_) | Destination::Syslog(_) if self.json => Some(Form::Json),
            Destination::File(_) | Destination::Syslog(_) => Some(Form::Text),
        }
    }

    /// Whether both write the same to the same place.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_place = match (&self.to, &other.to) {
            (Destination::ErrorLog, Destination::ErrorLog)
            | (Destination::Nowhere, Destination::Nowhere) => true,
            (Destination::File(one), Destination::File(other)) => Arc::ptr_eq(one, other),
            (Destination::Syslog(one), Destination::Syslog(other)) => one == other,
            _ => false,
        };
        same_place && (self.json, self.level) == (other.json, other.level)
    }
}

/// What is written of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines to which nginx adds the time and the request.
    Lines,
    /// The text that an application has formatted.
    Text,
    Json,
}

/// A file that records are written to.
#[derive(Debug)]
pub(crate) struct RecordFile {
    name: String,
    to: Descriptor,
    /// Who writes holds it, so that the rest of a record that was written in parts follows it.
    lost: Mutex<Lost>,
}

#[derive(Debug)]
enum Descriptor {
    /// Set when the worker starts.
    Own(OnceLock<OwnedFd>),
    StandardError,
}

/// What could not be written since it was last possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// What has become of a record.
#[derive(Debug)]
pub(crate) enum Written {
    Yes,
    /// It is written, but these before it were not.
    After(Lost),
    /// It is lost, and so were those before it.
    No,
    /// It is the first one that is lost.
    NoMore(io::Error),
}

impl RecordFile {
    pub(crate) fn new(name: String) -> Self {
        Self { name, to: Descriptor::Own(OnceLock::new()), lost: Mutex::new(Lost::default()) }
    }

    /// The process's standard error.
    pub(crate) fn standard_error() -> Self {
        let name = "stderr".to_owned();
        Self { name, to: Descriptor::StandardError, lost: Mutex::new(Lost::default()) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The worker starts: from now on records are written to that descriptor, which appends.
    pub(crate) fn open(&self, own: OwnedFd) {
        if let Descriptor::Own(slot) = &self.to {
            // A worker starts once.
            let _second = slot.set(own);
        }
    }

    /// The descriptor that [`open`](Self::open) was given.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        match &self.to {
            Descriptor::Own(own) => own.get().map(AsRawFd::as_raw_fd),
            Descriptor::StandardError => None,
        }
    }

    /// Writes a record, or several.
    pub(crate) fn write(&self, record: &[u8]) -> Written {
        let mut lost = lock(&self.lost);
        match self.write_all(record) {
            Ok(()) if *lost == Lost::default() => Written::Yes,
            Ok(()) => Written::After(std::mem::take(&mut lost)),
            Err(error) => {
                let is_first = *lost == Lost::default();
                lost.records += 1;
                lost.bytes += record.len() as u64;
                if is_first { Written::NoMore(error) } else { Written::No }
            }
        }
    }

    /// The same in a forked child, in which the lock may be held by a thread that it does not have.
    pub(crate) fn write_in_child(&self, record: &[u8]) -> io::Result<()> {
        self.write_all(record)
    }

    fn write_all(&self, record: &[u8]) -> io::Result<()> {
        match &self.to {
            Descriptor::Own(own) => match own.get() {
                Some(own) => write_all(own.as_fd(), record),
                None => Err(Errno::BADF.into()),
            },
            Descriptor::StandardError => write_all(io::stderr().as_fd(), record),
        }
    }
}

/// How long is waited for room in a pipe whose other end has made it non-blocking.
const PATIENCE: Duration = Duration::from_secs(1);

fn write_all(to: BorrowedFd<'_>, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            // What a full disk has no room for.
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let limit = Timespec::try_from(PATIENCE).ok();
                if poll(&mut [PollFd::new(&to, PollFlags::OUT)], limit.as_ref())? == 0 {
                    return Err(Errno::AGAIN.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_lost_is_counted_until_it_can_be_written() {
        let file = RecordFile::new("/dev/full".to_owned());
        assert!(matches!(file.write(b"early"), Written::NoMore(_)));
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        file.open(full.into());
        let Written::No = file.write(b"one\n") else { panic!("it is full") };
        let (mut end, pipe) = UnixStream::pair().unwrap();
        // As the event loop does when the logs are reopened.
        let mut own = rustix::io::dup(File::open("/dev/null").unwrap()).unwrap();
        rustix::io::dup2(&pipe, &mut own).unwrap();
        let again = RecordFile { to: Descriptor::Own(OnceLock::from(own)), ..file };
        let Written::After(lost) = again.write(b"two\n") else { panic!("there is room") };
        assert_eq!(lost, Lost { records: 2, bytes: 9 });
        assert!(matches!(again.write(b"three\n"), Written::Yes));
        drop((again, pipe));
        let mut written = String::new();
        end.read_to_string(&mut written).unwrap();
        assert_eq!(written, "two\nthree\n");
    }

    #[test]
    fn a_pipe_that_does_not_block_is_waited_for() {
        let (mut end, pipe) = UnixStream::pair().unwrap();
        pipe.set_nonblocking(true).unwrap();
        let file = RecordFile::new("pipe".to_owned());
        file.open(pipe.into());
        let record = vec![b'x'; 300_000];
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| file.write(&record));
            let mut read = vec![0; record.len()];
            end.read_exact(&mut read).unwrap();
            assert_eq!(read, record);
            writer.join().unwrap()
        });
        assert!(matches!(written, Written::Yes));
    }

    #[test]
    fn a_level_leaves_out_what_is_less_important() {
        let log = OutputLog { to: Destination::Syslog(0), json: true, level: Level::Warn };
        assert_eq!(log.form(Level::Error), Some(Form::Json));
        assert_eq!(log.form(Level::Warn), Some(Form::Json));
        assert_eq!(log.form(Level::Notice), None);
        assert_eq!(OutputLog::default().form(Level::Debug), Some(Form::Lines));
    }
}
