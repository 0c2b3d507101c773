//! Checks that the workers' user can use a file, in a forked child that becomes that user.
//!
//! nginx reads its configuration as root, who can read everything; the workers cannot. access(2) cannot be asked
//! about another user and that user's groups in any other way.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The user that the workers run as.
#[derive(Clone, Copy, Debug)]
pub(in crate::nginx) struct User {
    pub(in crate::nginx) uid: libc::uid_t,
    pub(in crate::nginx) gid: libc::gid_t,
}

impl User {
    /// Its home directory; `None` if no such user is known. Only while nginx, which has one thread then, reads its
    /// configuration.
    pub(in crate::nginx) fn home(self) -> Option<OsString> {
        // SAFETY: no other thread calls getpwuid(3), and the entry is read before the next call.
        let entry = unsafe { libc::getpwuid(self.uid).as_ref() }?;
        if entry.pw_dir.is_null() {
            return None;
        }
        // SAFETY: a NUL-terminated text, which is copied before the next call.
        let home = unsafe { CStr::from_ptr(entry.pw_dir) };
        Some(OsString::from_vec(home.to_bytes().to_vec()))
    }
}

/// What the workers do with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nginx) enum Need {
    /// Read a file, or a folder's list.
    Read,
    /// Find and read what a folder has.
    List,
    /// Reach what is below a folder.
    Search,
    /// Run a program.
    Execute,
    /// Write to a file.
    Write,
}

/// A file that the user cannot use, and the error.
#[derive(Debug)]
pub(in crate::nginx) struct Unusable {
    /// Its index among the files.
    pub(in crate::nginx) at: usize,
    pub(in crate::nginx) error: io::Error,
}

/// Tries each file, as `user` if one is given. Returns the first that cannot be used.
pub(in crate::nginx) fn check(
    user: Option<User>,
    files: &[(&Path, Need)],
) -> io::Result<Option<Unusable>> {
    let failed = match user {
        Some(user) => check_as(user, files)?,
        None => try_all(&c_paths(files)),
    };
    Ok(failed.map(|(at, errno)| Unusable { at, error: io::Error::from_raw_os_error(errno) }))
}

/// The first folder above a file that the user cannot search.
pub(in crate::nginx) fn blocking_folder(
    user: Option<User>,
    file: &Path,
) -> io::Result<Option<PathBuf>> {
    // A symbolic link may lead to other folders. If it is broken, only its own folders count.
    let real = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
    let mut above: Vec<_> = real.ancestors().skip(1).map(|folder| (folder, Need::Search)).collect();
    above.reverse();
    let failed = check(user, &above)?;
    Ok(failed.and_then(|failed| above.get(failed.at)).map(|(folder, _)| folder.to_path_buf()))
}

type Failure = (usize, i32);

fn c_paths(files: &[(&Path, Need)]) -> Vec<(CString, Need)> {
    let c_path = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    files.iter().map(|(path, need)| (c_path(path), *need)).collect()
}

fn try_all(paths: &[(CString, Need)]) -> Option<Failure> {
    paths.iter().enumerate().find_map(|(at, (path, need))| {
        let reads = matches!(need, Need::Read | Need::List);
        let runs = matches!(need, Need::List | Need::Search | Need::Execute);
        let done = (!reads || can_open(path))
            && (!runs || can_execute(path))
            && (*need != Need::Write || can_write(path));
        (!done).then(|| (at, io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)))
    })
}

fn can_open(path: &CStr) -> bool {
    // SAFETY: a NUL-terminated path; the descriptor is closed again.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::close(fd);
        }
        fd >= 0
    }
}

/// Whether a program can be executed, or a folder searched.
fn can_execute(path: &CStr) -> bool {
    // SAFETY: a NUL-terminated path. The child is that user for access(2), too: setuid(2) of root sets all
    // its ids.
    unsafe { libc::access(path.as_ptr(), libc::X_OK) == 0 }
}

fn can_write(path: &CStr) -> bool {
    // SAFETY: as for `can_execute`.
    unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
}

/// Tries the files in a child. nginx's SIGCHLD handler may reap it (`ngx_process_get_status`), so its result comes
/// through a pipe: nothing if all is well, else which file and which error.
fn check_as(user: User, files: &[(&Path, Need)]) -> io::Result<Option<Failure>> {
    // Allocated before the fork: the child makes system calls only.
    let paths = c_paths(files);
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [read_end, write_end] = ends;
    // SAFETY: the child calls only what is async-signal-safe, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let failure = if become_user(user) { try_all(&paths) } else { Some((0, libc::EPERM)) };
        if let Some((at, errno)) = failure {
            let report = [at as i32, errno];
            // SAFETY: eight bytes into an open pipe. An error could not be reported to anybody.
            unsafe { libc::write(write_end, report.as_ptr().cast(), 8) };
        }
        // SAFETY: ends the child without running what the parent has registered.
        unsafe { libc::_exit(0) };
    }
    let forked = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: this function owns the two ends; the File owns the read end from here on.
    let mut reader = unsafe {
        libc::close(write_end);
        File::from_raw_fd(read_end)
    };
    forked?;
    let mut report = Vec::new();
    reader.read_to_end(&mut report)?;
    // SAFETY: pid is this function's child; ECHILD if nginx's handler was first.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    Ok(report.split_first_chunk::<4>().and_then(|(at, errno)| {
        let errno = i32::from_ne_bytes(errno.try_into().ok()?);
        Some((usize::try_from(i32::from_ne_bytes(*at)).ok()?, errno))
    }))
}

/// Gives up root for that user, for good. False if the system refuses that.
pub(in crate::nginx) fn become_user(user: User) -> bool {
    // SAFETY: plain system calls, as ngx_worker_process_init makes them; initgroups reads the group
    // database, in a child of a process that has only one thread.
    unsafe {
        if libc::setgid(user.gid) != 0 {
            return false;
        }
        let entry = libc::getpwuid(user.uid);
        if !entry.is_null() && libc::initgroups((*entry).pw_name, user.gid) != 0 {
            return false;
        }
        libc::setuid(user.uid) == 0
    }
}
