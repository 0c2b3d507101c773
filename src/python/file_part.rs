//! Files of an application's that nginx sends itself.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::fs::FsWord;

use crate::bridge::pipe::output::parts::FilePart;

/// A duplicate of an application's descriptor, which the application may close at any time.
pub(super) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<(File, Metadata)> {
    let file = File::from(rustix::io::fcntl_dupfd_cloexec(fd, 0)?);
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// At most `count` bytes of a file from `start` on, if nginx can send them: if the file is on a disk, and has some there.
/// Otherwise gives the file back.
pub(super) fn file_part(
    file: File,
    metadata: &Metadata,
    start: u64,
    count: u64,
) -> Result<FilePart, File> {
    let end = metadata.len().min(start.saturating_add(count));
    // Files without a length (/proc) or with a wrong one (/sys) are read.
    if metadata.is_file() && start < end && !in_sysfs(&file, metadata) {
        Ok(FilePart { file: Arc::new(file), start, end })
    } else {
        Err(file)
    }
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
