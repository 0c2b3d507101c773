//! The temporary file that a response waits in when its client is slow: unlinked from the start,
//! written by the Python thread alone, read by the event loop.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Opens a file without a name in `directory`.
pub(crate) fn open(directory: &Path) -> io::Result<File> {
    let unnamed = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::TMPFILE.bits() as i32)
        .mode(Mode::RUSR.bits() | Mode::WUSR.bits())
        .open(directory);
    match unnamed {
        // Not every file system knows O_TMPFILE (open(2)).
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::OPNOTSUPP | Errno::ISDIR) => open_and_unlink(directory),
            _ => Err(error),
        },
        Ok(file) => Ok(file),
    }
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

fn open_and_unlink(directory: &Path) -> io::Result<File> {
    for attempt in 0..1000_u32 {
        let path = directory.join(format!("pywsgi.{}.{attempt}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(Mode::RUSR.bits() | Mode::WUSR.bits())
            .open(&path);
        match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_name_and_keeps_what_is_written() {
        let directory = std::env::temp_dir().join(format!("pywsgi-spill-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for file in [open(&directory).unwrap(), open_and_unlink(&directory).unwrap()] {
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
            write(&file, b"cd", 2).unwrap();
            write(&file, b"ab", 0).unwrap();
            let mut read = [0; 4];
            file.read_exact_at(&mut read, 0).unwrap();
            assert_eq!(&read, b"abcd");
        }
        std::fs::remove_dir(&directory).unwrap();
        assert!(open(&directory).is_err());
    }
}
