//! Reading a directive: its words, and errors with file and line.

use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_parse_time, ngx_str_t};

use crate::bridge::code::Code;
use crate::bridge::log::Level;
use crate::nginx::conf::{ConfError, Reading};
use crate::nginx::sys::{self, CONF_ERROR, CONF_OK};

/// A directive as nginx gives it to a setter: its words, and the configuration that it sets.
pub(super) struct Directive<'a, C> {
    pub(super) reading: &'a mut Reading,
    pub(super) words: &'a [ngx_str_t],
    pub(super) conf: &'a mut C,
}

impl<C> Directive<'_, C> {
    pub(super) fn bytes(&self, at: usize) -> &[u8] {
        // SAFETY: nginx's words live as long as its setter runs.
        self.words.get(at).map_or(&[], |word| unsafe { sys::bytes(*word) })
    }

    pub(super) fn text(&self, at: usize) -> Result<&str, ConfError> {
        std::str::from_utf8(self.bytes(at)).map_err(|_| {
            self.error(format!(
                "\"{}\" is not UTF-8; save the configuration as UTF-8",
                self.lossy(at)
            ))
        })
    }

    pub(super) fn lossy(&self, at: usize) -> String {
        String::from_utf8_lossy(self.bytes(at)).into_owned()
    }

    pub(super) fn path(&self, at: usize) -> Result<PathBuf, ConfError> {
        let path = Path::new(OsStr::from_bytes(self.bytes(at)));
        if path.is_absolute() {
            return Ok(path.to_path_buf());
        }
        Err(self.error(format!(
            "\"{}\" is not an absolute path; write one that begins with /",
            path.display()
        )))
    }

    /// The value, if the word is `key=VALUE`.
    pub(super) fn option<'w>(word: &'w [u8], key: &str) -> Option<&'w [u8]> {
        word.strip_prefix(key.as_bytes())?.strip_prefix(b"=")
    }

    pub(super) fn error(&self, what: impl AsRef<str>) -> ConfError {
        self.refuse(Code::DirectiveInvalid, what)
    }

    /// The same with a code of its own.
    pub(super) fn refuse(&self, code: Code, what: impl AsRef<str>) -> ConfError {
        ConfError::new(code, format!("{} {}", self.lossy(0), what.as_ref()))
    }

    pub(super) fn once<T>(&self, slot: &Option<T>) -> Result<(), ConfError> {
        if slot.is_some() {
            let text = format!("\"{}\" directive is duplicate", self.lossy(0));
            return Err(ConfError::new(Code::DirectiveDuplicate, text));
        }
        Ok(())
    }

    /// `on` or `off`
    pub(super) fn on_or_off(&self, word: &[u8]) -> Result<bool, ConfError> {
        match word {
            b"on" => Ok(true),
            b"off" => Ok(false),
            _ => {
                let word = String::from_utf8_lossy(word);
                Err(self.error(format!("has \"{word}\"; it must be on or off")))
            }
        }
    }

    /// `ngx_parse_time` in milliseconds.
    pub(super) fn time(&self, value: &[u8]) -> Result<usize, ConfError> {
        // SAFETY: the value is readable for its length.
        let parsed = unsafe {
            ngx_parse_time(&mut ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() }, 0)
        };
        usize::try_from(parsed).map_err(|_| {
            let value = String::from_utf8_lossy(value);
            self.error(format!("has the invalid time \"{value}\"; write one such as 30s"))
        })
    }

    /// `TIME|off` as the only argument, in milliseconds; 0 is off.
    pub(super) fn time_or_off(&self) -> Result<usize, ConfError> {
        match self.bytes(1) {
            b"off" => Ok(0),
            value => self.time(value),
        }
    }

    /// A level of nginx's logs.
    pub(super) fn level(&self, name: &[u8]) -> Result<Level, ConfError> {
        Ok(match name {
            b"emerg" => Level::Emerg,
            b"alert" => Level::Alert,
            b"crit" => Level::Crit,
            b"error" => Level::Error,
            b"warn" => Level::Warn,
            b"notice" => Level::Notice,
            b"info" => Level::Info,
            b"debug" => Level::Debug,
            _ => {
                let name = String::from_utf8_lossy(name);
                return Err(self.error(format!(
                    "has the unknown level \"{name}\"; write emerg, alert, crit, error, warn, notice, info \
                     or debug"
                )));
            }
        })
    }

    pub(super) fn number(&self, key: &str, value: &[u8], least: usize) -> Result<usize, ConfError> {
        decimal(value).filter(|number| *number >= least).ok_or_else(|| {
            let value = String::from_utf8_lossy(value);
            self.error(format!("has {key}={value}; it must be a number of at least {least}"))
        })
    }
}

/// A number of decimal digits alone; `parse` takes "+5" as well.
pub(super) fn decimal(value: &[u8]) -> Option<usize> {
    let digits = value.iter().all(u8::is_ascii_digit).then_some(value)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads a directive with `read`. An error is logged with file and line.
///
/// # Safety
///
/// nginx calls the setter of `command`, and at the command's offset of `conf` is a `C`.
pub(super) unsafe fn set<C>(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
    read: impl FnOnce(Directive<'_, C>) -> Result<(), ConfError>,
) -> *mut c_char {
    // SAFETY: nginx calls a setter: its array of words has nelts of them.
    let words = unsafe {
        let args = &*(*cf).args;
        std::slice::from_raw_parts(args.elts.cast::<ngx_str_t>(), args.nelts)
    };
    // SAFETY: a C is there, and nobody else refers to it while nginx calls its setter.
    let conf = unsafe { &mut *conf.byte_add((*command).offset).cast::<C>() };
    // SAFETY: nginx calls a setter.
    unsafe {
        Reading::run(cf, CONF_ERROR, |reading| {
            match read(Directive { reading: &mut *reading, words, conf }) {
                Ok(()) => CONF_OK,
                Err(error) => reading.refuse(&error),
            }
        })
    }
}

/// An `extern "C"` setter around a function of a [`Directive`].
macro_rules! setter {
    ($name:ident, $conf:ty, $read:expr) => {
        /// # Safety
        ///
        /// nginx calls it for a command whose offset is that of the configuration it reads into.
        pub(super) unsafe extern "C" fn $name(
            cf: *mut ::nginx_sys::ngx_conf_t,
            command: *mut ::nginx_sys::ngx_command_t,
            conf: *mut ::std::ffi::c_void,
        ) -> *mut ::std::ffi::c_char {
            use $crate::nginx::conf::ConfError;
            use $crate::nginx::directives::reader::{Directive, set};

            let read: fn(Directive<'_, $conf>) -> Result<(), ConfError> = $read;
            // SAFETY: the table has that configuration at the command's offset.
            unsafe { set::<$conf>(cf, command, conf, read) }
        }
    };
}

pub(super) use setter;
