//! How a directive is read: its words, and what is wrong with them, said with file and line.

use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nginx_sys::{
    NGX_LOG_EMERG, ngx_conf_log_error, ngx_conf_t, ngx_parse_time, ngx_str_t, ngx_uint_t,
};

use crate::nginx::conf::{self, ConfError};
use crate::nginx::sys::{self, CONF_ERROR, CONF_OK};

/// A directive as nginx hands it over: its arguments, and the configuration it belongs to.
pub(super) struct Directive<'a, C> {
    pub(super) cf: *mut ngx_conf_t,
    pub(super) words: &'a [ngx_str_t],
    pub(super) conf: &'a mut C,
}

impl<C> Directive<'_, C> {
    pub(super) fn bytes(&self, at: usize) -> &[u8] {
        // SAFETY: nginx's words live as long as the directive is read.
        self.words.get(at).map_or(&[], |word| unsafe { sys::bytes(*word) })
    }

    pub(super) fn text(&self, at: usize) -> Result<&str, ConfError> {
        std::str::from_utf8(self.bytes(at))
            .map_err(|_| self.error(format!("\"{}\" is not UTF-8", self.lossy(at))))
    }

    pub(super) fn lossy(&self, at: usize) -> String {
        String::from_utf8_lossy(self.bytes(at)).into_owned()
    }

    pub(super) fn path(&self, at: usize) -> Result<PathBuf, ConfError> {
        let path = Path::new(OsStr::from_bytes(self.bytes(at)));
        if path.is_absolute() {
            return Ok(path.to_path_buf());
        }
        Err(self.error(format!("\"{}\" is not an absolute path", path.display())))
    }

    /// The value of `key=…` among the words behind the first `from`.
    pub(super) fn option<'w>(word: &'w [u8], key: &str) -> Option<&'w [u8]> {
        word.strip_prefix(key.as_bytes())?.strip_prefix(b"=")
    }

    pub(super) fn error(&self, what: impl AsRef<str>) -> ConfError {
        ConfError(format!("{} {}", self.lossy(0), what.as_ref()))
    }

    pub(super) fn once<T>(&self, slot: &Option<T>) -> Result<(), ConfError> {
        if slot.is_some() {
            return Err(ConfError(format!("\"{}\" directive is duplicate", self.lossy(0))));
        }
        Ok(())
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

    pub(super) fn number(&self, key: &str, value: &[u8], least: usize) -> Result<usize, ConfError> {
        let number = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        number.filter(|number| *number >= least).ok_or_else(|| {
            let value = String::from_utf8_lossy(value);
            self.error(format!("has {key}={value}; it must be a number of at least {least}"))
        })
    }
}

/// Reads a directive by `read`; its error goes to the log with file and line.
///
/// # Safety
///
/// nginx calls the setter: `cf` is its own and `conf` a `C`.
pub(super) unsafe fn set<C>(
    cf: *mut ngx_conf_t,
    conf: *mut c_void,
    read: impl FnOnce(Directive<'_, C>) -> Result<(), ConfError>,
) -> *mut c_char {
    // SAFETY: the caller's; nginx's array of words has nelts of them.
    unsafe {
        conf::reading(cf, CONF_ERROR, || {
            let args = &*(*cf).args;
            let words = std::slice::from_raw_parts(args.elts.cast::<ngx_str_t>(), args.nelts);
            let directive = Directive { cf, words, conf: &mut *conf.cast::<C>() };
            match read(directive) {
                Ok(()) => CONF_OK,
                Err(error) => fail(cf, &error),
            }
        })
    }
}

/// Says what is wrong, where nginx is reading now.
///
/// # Safety
///
/// `cf` is nginx's.
unsafe fn fail(cf: *mut ngx_conf_t, error: &ConfError) -> *mut c_char {
    let text = &error.0;
    // SAFETY: "%*s" takes a size_t and a pointer to as many bytes.
    unsafe {
        ngx_conf_log_error(
            NGX_LOG_EMERG as ngx_uint_t,
            cf,
            0,
            c"%*s".as_ptr(),
            text.len(),
            text.as_ptr(),
        );
    }
    CONF_ERROR
}

/// An `extern "C"` setter around a function of a [`Directive`].
macro_rules! setter {
    ($name:ident, $conf:ty, $read:expr) => {
        pub(super) unsafe extern "C" fn $name(
            cf: *mut ngx_conf_t,
            _command: *mut ngx_command_t,
            conf: *mut c_void,
        ) -> *mut c_char {
            let read: fn(Directive<'_, $conf>) -> Result<(), ConfError> = $read;
            // SAFETY: the table names this setter for that configuration.
            unsafe { set::<$conf>(cf, conf, read) }
        }
    };
}

pub(super) use setter;
