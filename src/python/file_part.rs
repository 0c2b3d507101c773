//! Files of an application's that nginx sends itself.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::fs::FsWord;

use crate::bridge::pipe::output::parts::FilePart;

/// The file from `start` to its end, if nginx can send that: if the file is on a disk, and longer. The descriptor is a
/// duplicate, because the application may close its own at any time.
pub(super) fn file_part(fd: BorrowedFd<'_>, start: u64) -> Option<FilePart> {
    let own = rustix::io::fcntl_dupfd_cloexec(fd, 0).ok()?;
    whole_part(File::from(own))
        .filter(|part| part.end > start)
        .map(|part| FilePart { start, ..part })
}

/// A whole file, if nginx can send it.
pub(super) fn whole_part(file: File) -> Option<FilePart> {
    let metadata = file.metadata().ok()?;
    // Files without a length (/proc) or with a wrong one (/sys) are read.
    let sendable = metadata.is_file() && metadata.len() > 0 && !in_sysfs(&file, &metadata);
    sendable.then(|| FilePart { file: Arc::new(file), start: 0, end: metadata.len() })
}

/// Is it an attribute of sysfs? Each of these says that it is as long as a page, however little it holds. They take no
/// block of a disk, so fstatfs(2) is called for files without blocks alone: it is a round trip for a file that is on
/// another machine.
fn in_sysfs(file: &File, metadata: &Metadata) -> bool {
    metadata.blocks() == 0
        && rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == SYSFS_MAGIC)
}

/// linux/magic.h; see statfs(2).
const SYSFS_MAGIC: FsWord = 0x6265_6572;
