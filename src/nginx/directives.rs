//! The directives: their table, and how each is read.

use std::ffi::{OsStr, c_char, c_void};
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_2MORE, NGX_CONF_FLAG, NGX_CONF_TAKE1, NGX_CONF_TAKE12,
    NGX_CONF_TAKE23, NGX_CONF_TAKE1234, NGX_HTTP_LIF_CONF, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
    NGX_LOG_EMERG, ngx_command_t, ngx_conf_log_error, ngx_conf_set_flag_slot,
    ngx_conf_set_msec_slot, ngx_conf_set_path_slot, ngx_conf_set_size_slot, ngx_conf_t,
    ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value_t,
    ngx_http_script_variables_count, ngx_parse_size, ngx_parse_time, ngx_pcalloc, ngx_str_t,
    ngx_uint_t,
};

use super::conf::{self, App, ConfError, DEFAULT_MAX_QUEUE, LocConf, MainConf, Param, ParamValue};
use super::entry;
use super::python_home;
use super::sys::{self, CONF_ERROR, CONF_OK};
use super::target::{self, Target};
use crate::bridge::config::PoolConfig;
use crate::bridge::events::Level;
use crate::http::{header, path};

type Setter = unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

const HTTP: u32 = NGX_HTTP_MAIN_CONF;
const LOCATION: u32 = NGX_HTTP_LOC_CONF | NGX_HTTP_LIF_CONF;
const ANY: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;

const fn main(name: ngx_str_t, arguments: u32, set: Setter) -> ngx_command_t {
    ngx_command_t {
        name,
        type_: (HTTP | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

const fn location(
    name: ngx_str_t,
    context: u32,
    arguments: u32,
    set: Setter,
    offset: usize,
) -> ngx_command_t {
    ngx_command_t {
        name,
        type_: (context | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset,
        post: ptr::null_mut(),
    }
}

/// The directive table; docs/directives has a page for each.
pub(super) static mut COMMANDS: [ngx_command_t; 30] = [
    location(sys::string(c"wsgi_app"), LOCATION, NGX_CONF_TAKE1, wsgi_app, 0),
    location(sys::string(c"wsgi_callable"), ANY, NGX_CONF_1MORE, wsgi_callable, 0),
    location(sys::string(c"wsgi_script_name"), ANY, NGX_CONF_TAKE1, wsgi_script_name, 0),
    location(sys::string(c"wsgi_param"), ANY, NGX_CONF_TAKE23, wsgi_param, 0),
    location(sys::string(c"wsgi_thread_pool"), ANY, NGX_CONF_TAKE1, wsgi_thread_pool, 0),
    location(
        sys::string(c"wsgi_queue_timeout"),
        ANY,
        NGX_CONF_TAKE1,
        ngx_conf_set_msec_slot,
        offset_of!(LocConf, queue_timeout),
    ),
    location(
        sys::string(c"wsgi_timeout"),
        ANY,
        NGX_CONF_TAKE1,
        ngx_conf_set_msec_slot,
        offset_of!(LocConf, timeout),
    ),
    location(
        sys::string(c"wsgi_request_buffering"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, request_buffering),
    ),
    location(
        sys::string(c"wsgi_buffering"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, buffering),
    ),
    location(
        sys::string(c"wsgi_buffer_size"),
        ANY,
        NGX_CONF_TAKE1,
        wsgi_buffer_size,
        offset_of!(LocConf, buffer_size),
    ),
    location(
        sys::string(c"wsgi_max_temp_file_size"),
        ANY,
        NGX_CONF_TAKE1,
        ngx_conf_set_size_slot,
        offset_of!(LocConf, max_temp_file_size),
    ),
    location(
        sys::string(c"wsgi_temp_path"),
        ANY,
        NGX_CONF_TAKE1234,
        ngx_conf_set_path_slot,
        offset_of!(LocConf, temp_path),
    ),
    location(sys::string(c"wsgi_path_info"), ANY, NGX_CONF_TAKE1, wsgi_path_info, 0),
    location(
        sys::string(c"wsgi_pass_authorization"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, pass_authorization),
    ),
    location(
        sys::string(c"wsgi_pass_request_headers"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, pass_request_headers),
    ),
    location(sys::string(c"wsgi_hide_header"), ANY, NGX_CONF_TAKE1, wsgi_hide_header, 0),
    location(sys::string(c"wsgi_pass_header"), ANY, NGX_CONF_TAKE1, wsgi_pass_header, 0),
    location(sys::string(c"wsgi_ignore_headers"), ANY, NGX_CONF_1MORE, wsgi_ignore_headers, 0),
    location(
        sys::string(c"wsgi_accel"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, accel),
    ),
    location(
        sys::string(c"wsgi_intercept_errors"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, intercept_errors),
    ),
    main(sys::string(c"python_home"), NGX_CONF_TAKE1, python_home),
    main(sys::string(c"python_path"), NGX_CONF_1MORE, python_path),
    main(sys::string(c"python_executable"), NGX_CONF_TAKE1, python_executable),
    main(sys::string(c"python_env"), NGX_CONF_1MORE, python_env),
    main(sys::string(c"python_thread_pool"), NGX_CONF_2MORE, python_thread_pool),
    main(sys::string(c"python_finalize"), NGX_CONF_TAKE12, python_finalize),
    main(sys::string(c"python_drain_timeout"), NGX_CONF_TAKE1, python_drain_timeout),
    main(sys::string(c"python_stdout_log_level"), NGX_CONF_TAKE1, python_stdout_log_level),
    main(sys::string(c"python_stderr_log_level"), NGX_CONF_TAKE1, python_stderr_log_level),
    ngx_command_t::empty(),
];

/// A directive as nginx hands it over: its arguments, and the configuration it belongs to.
struct Directive<'a, C> {
    cf: *mut ngx_conf_t,
    words: &'a [ngx_str_t],
    conf: &'a mut C,
}

impl<C> Directive<'_, C> {
    fn bytes(&self, at: usize) -> &[u8] {
        // SAFETY: nginx's words live as long as the directive is read.
        self.words.get(at).map_or(&[], |word| unsafe { sys::bytes(*word) })
    }

    fn text(&self, at: usize) -> Result<&str, ConfError> {
        std::str::from_utf8(self.bytes(at))
            .map_err(|_| self.error(format!("\"{}\" is not UTF-8", self.lossy(at))))
    }

    fn lossy(&self, at: usize) -> String {
        String::from_utf8_lossy(self.bytes(at)).into_owned()
    }

    fn path(&self, at: usize) -> Result<PathBuf, ConfError> {
        let path = Path::new(OsStr::from_bytes(self.bytes(at)));
        if path.is_absolute() {
            return Ok(path.to_path_buf());
        }
        Err(self.error(format!("\"{}\" is not an absolute path", path.display())))
    }

    /// The value of `key=…` among the words behind the first `from`.
    fn option<'w>(word: &'w [u8], key: &str) -> Option<&'w [u8]> {
        word.strip_prefix(key.as_bytes())?.strip_prefix(b"=")
    }

    fn error(&self, what: impl AsRef<str>) -> ConfError {
        ConfError(format!("{} {}", self.lossy(0), what.as_ref()))
    }

    fn once<T>(&self, slot: &Option<T>) -> Result<(), ConfError> {
        if slot.is_some() {
            return Err(ConfError(format!("\"{}\" directive is duplicate", self.lossy(0))));
        }
        Ok(())
    }

    /// `ngx_parse_time` in milliseconds.
    fn time(&self, value: &[u8]) -> Result<usize, ConfError> {
        // SAFETY: the value is readable for its length.
        let parsed = unsafe {
            ngx_parse_time(&mut ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() }, 0)
        };
        usize::try_from(parsed).map_err(|_| {
            let value = String::from_utf8_lossy(value);
            self.error(format!("has the invalid time \"{value}\"; write one such as 30s"))
        })
    }

    fn number(&self, key: &str, value: &[u8], least: usize) -> Result<usize, ConfError> {
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
unsafe fn set<C>(
    cf: *mut ngx_conf_t,
    conf: *mut c_void,
    read: impl FnOnce(Directive<'_, C>) -> Result<(), ConfError>,
) -> *mut c_char {
    // SAFETY: the caller's; nginx's array of words has nelts of them.
    unsafe {
        sys::guard(
            conf::log(cf),
            || CONF_ERROR,
            |_token| {
                let args = &*(*cf).args;
                let words = std::slice::from_raw_parts(args.elts.cast::<ngx_str_t>(), args.nelts);
                let directive = Directive { cf, words, conf: &mut *conf.cast::<C>() };
                match read(directive) {
                    Ok(()) => CONF_OK,
                    Err(error) => fail(cf, &error),
                }
            },
        )
    }
}

/// Says what is wrong, where nginx is reading now.
///
/// # Safety
///
/// `cf` is nginx's.
pub(super) unsafe fn fail(cf: *mut ngx_conf_t, error: &ConfError) -> *mut c_char {
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
        unsafe extern "C" fn $name(
            cf: *mut ngx_conf_t,
            _command: *mut ngx_command_t,
            conf: *mut c_void,
        ) -> *mut c_char {
            let read: fn(Directive<'_, $conf>) -> Result<(), ConfError> = $read;
            // SAFETY: the table above names this setter for that configuration.
            unsafe { set::<$conf>(cf, conf, read) }
        }
    };
}

/// The same, where the text names the place itself.
///
/// # Safety
///
/// `cf` is nginx's.
pub(super) unsafe fn fail_without_place(cf: *mut ngx_conf_t, error: &ConfError) -> *mut c_char {
    // SAFETY: the caller's.
    unsafe { super::log::write(conf::log(cf), NGX_LOG_EMERG as ngx_uint_t, &error.0) };
    CONF_ERROR
}

setter!(wsgi_app, LocConf, |directive| {
    directive.once(&directive.conf.app)?;
    let value = directive.text(1)?.to_owned();
    if value == "off" {
        directive.conf.app = Some(App::Off);
        return Ok(());
    }
    Target::split(&value).check().map_err(|what| directive.error(format!("\"{value}\" {what}")))?;
    // SAFETY: nginx is reading a location of http.
    let (core, place) =
        unsafe { (&mut *conf::core_loc_conf(directive.cf), conf::place(directive.cf)) };
    if core.handler.is_some() {
        return Err(directive.error(
            "stands beside another content handler; only one of them can serve a location",
        ));
    }
    core.handler = Some(entry::CONTENT_HANDLER);
    // SAFETY: the location's name is len bytes at data.
    if unsafe { sys::bytes(core.name) }.ends_with(b"/") {
        // As uwsgi_pass does: "/name" is redirected to "/name/".
        core.set_auto_redirect(1);
    }
    directive.conf.app = Some(App::Target(value, place));
    Ok(())
});

setter!(wsgi_callable, LocConf, |directive| {
    directive.once(&directive.conf.callables)?;
    let mut names = Vec::new();
    for at in 1..directive.words.len() {
        let name = directive.text(at)?;
        if !target::is_dotted_name(name) {
            return Err(directive.error(format!("\"{name}\" is not the name of a callable")));
        }
        names.push(name.to_owned());
    }
    directive.conf.callables = Some(names);
    Ok(())
});

setter!(wsgi_script_name, LocConf, |directive| {
    directive.once(&directive.conf.script_name)?;
    let value = directive.bytes(1);
    let script_name = if value == b"off" {
        None
    } else {
        path::check_script_name(value).map_err(|error| directive.error(error.to_string()))?;
        Some(value.to_vec())
    };
    directive.conf.script_name = Some(script_name);
    Ok(())
});

setter!(wsgi_path_info, LocConf, |directive| {
    directive.once(&directive.conf.raw_path)?;
    directive.conf.raw_path = Some(match directive.bytes(1) {
        b"normalized" => false,
        b"raw" => true,
        _ => {
            let word = directive.lossy(1);
            return Err(directive.error(format!("has \"{word}\"; it must be normalized or raw")));
        }
    });
    Ok(())
});

setter!(wsgi_hide_header, LocConf, |directive| {
    let name = header_name(&directive)?;
    directive.conf.hide_headers.get_or_insert_default().push(name);
    Ok(())
});

setter!(wsgi_pass_header, LocConf, |directive| {
    let name = header_name(&directive)?;
    directive.conf.pass_headers.get_or_insert_default().push(name);
    Ok(())
});

fn header_name<C>(directive: &Directive<'_, C>) -> Result<Vec<u8>, ConfError> {
    let name = directive.bytes(1);
    header::check_name(name).map_err(|error| directive.error(error.to_string()))?;
    Ok(name.to_vec())
}

setter!(wsgi_ignore_headers, LocConf, |directive| {
    let mut ignored = directive.conf.ignore_headers.take().unwrap_or_default();
    for at in 1..directive.words.len() {
        match header::classify(directive.bytes(at)) {
            kind if kind.is_accel() => ignored.push(kind),
            _ => {
                let word = directive.lossy(at);
                return Err(directive.error(format!(
                    "has \"{word}\"; only X-Accel-Buffering, X-Accel-Charset, X-Accel-Expires, \
                     X-Accel-Limit-Rate and X-Accel-Redirect can be ignored"
                )));
            }
        }
    }
    directive.conf.ignore_headers = Some(ignored);
    Ok(())
});

setter!(wsgi_param, LocConf, |directive| {
    let name = directive.bytes(1).to_vec();
    if name.is_empty() {
        return Err(directive.error("has an empty name"));
    }
    let if_not_empty = match directive.bytes(3) {
        b"" => false,
        b"if_not_empty" => true,
        _ => {
            let word = directive.lossy(3);
            return Err(
                directive.error(format!("has \"{word}\"; only if_not_empty may follow the value"))
            );
        }
    };
    let value = if directive.bytes(2).contains(&b'$') {
        ParamValue::Complex(compile(&directive)?)
    } else {
        ParamValue::Constant(directive.bytes(2).to_vec())
    };
    let param = Param { name, value, if_not_empty };
    directive.conf.params.get_or_insert_default().push(param);
    Ok(())
});

/// Compiles a value with variables, as `uwsgi_param` does.
fn compile<C>(directive: &Directive<'_, C>) -> Result<*mut ngx_http_complex_value_t, ConfError> {
    let mut text = *directive.words.get(2).ok_or_else(conf::out_of_memory)?;
    // SAFETY: nginx's own compiler, over memory of the configuration's pool.
    unsafe {
        let size = size_of::<ngx_http_complex_value_t>();
        let value = ngx_pcalloc((*directive.cf).pool, size).cast::<ngx_http_complex_value_t>();
        if value.is_null() {
            return Err(conf::out_of_memory());
        }
        // Counted for the message alone: nginx's compiler refuses what it does not know.
        let _variables = ngx_http_script_variables_count(&raw mut text);
        let mut compile: ngx_http_compile_complex_value_t = std::mem::zeroed();
        compile.cf = directive.cf;
        compile.value = &raw mut text;
        compile.complex_value = value;
        if ngx_http_compile_complex_value(&raw mut compile) != sys::OK {
            return Err(
                directive.error(format!("has the invalid value \"{}\"", directive.lossy(2)))
            );
        }
        Ok(value)
    }
}

setter!(wsgi_thread_pool, LocConf, |directive| {
    directive.once(&directive.conf.pool)?;
    let name = directive.text(1)?.to_owned();
    if name == "inline" {
        return Err(directive.error("\"inline\" is reserved; this version has thread pools alone"));
    }
    // SAFETY: nginx is reading.
    let place = unsafe { conf::place(directive.cf) };
    directive.conf.pool = Some((name, place));
    Ok(())
});

unsafe extern "C" fn wsgi_buffer_size(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: the table names this setter for a LocConf, as ngx_conf_set_size_slot wants it.
    let result = unsafe { ngx_conf_set_size_slot(cf, command, conf) };
    if !result.is_null() {
        return result;
    }
    // SAFETY: as above.
    unsafe {
        set::<LocConf>(cf, conf, |directive| {
            if directive.conf.buffer_size < 4096 {
                return Err(directive.error("must be at least 4k"));
            }
            Ok(())
        })
    }
}

setter!(python_home, MainConf, |directive| {
    directive.once(&directive.conf.home)?;
    let home = directive.path(1)?;
    python_home::check(&home)
        .map_err(|what| directive.error(format!("\"{}\" {what}", home.display())))?;
    // SAFETY: nginx is reading.
    let place = unsafe { conf::place(directive.cf) };
    directive.conf.readable.push(("python_home", home.clone(), place.clone()));
    let config = home.join("pyvenv.cfg");
    if config.exists() {
        directive.conf.readable.push(("python_home", config, place));
    }
    directive.conf.home = Some(home);
    Ok(())
});

setter!(python_path, MainConf, |directive| {
    for at in 1..directive.words.len() {
        let path = directive.path(at)?;
        if !path.is_dir() {
            return Err(directive.error(format!("\"{}\" is not a directory", path.display())));
        }
        // SAFETY: nginx is reading.
        let place = unsafe { conf::place(directive.cf) };
        directive.conf.readable.push(("python_path", path.clone(), place));
        directive.conf.path.push(path);
    }
    Ok(())
});

setter!(python_executable, MainConf, |directive| {
    directive.once(&directive.conf.executable)?;
    let path = directive.path(1)?;
    let executable =
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    if !executable {
        return Err(directive.error(format!("\"{}\" is not an executable file", path.display())));
    }
    directive.conf.executable = Some(path);
    Ok(())
});

setter!(python_env, MainConf, |directive| {
    for at in 1..directive.words.len() {
        let word = directive.bytes(at);
        let mut parts = word.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || name.contains(&0) {
            let word = directive.lossy(at);
            return Err(
                directive.error(format!("\"{word}\" has no name; write NAME or NAME=VALUE"))
            );
        }
        let variable = (
            OsStr::from_bytes(name).to_owned(),
            parts.next().map(|v| OsStr::from_bytes(v).to_owned()),
        );
        directive.conf.env.push(variable);
    }
    Ok(())
});

setter!(python_thread_pool, MainConf, |directive| {
    let name = directive.text(1)?.to_owned();
    if name == "inline" || name.is_empty() {
        return Err(directive.error(format!("cannot be named \"{name}\"")));
    }
    if directive.conf.pools.iter().any(|pool| pool.name == name) {
        return Err(directive.error(format!("\"{name}\" is defined twice")));
    }
    let mut threads = None;
    let mut max_queue = DEFAULT_MAX_QUEUE;
    let mut stack = None;
    for at in 2..directive.words.len() {
        let word = directive.bytes(at).to_vec();
        if let Some(value) = Directive::<MainConf>::option(&word, "threads") {
            threads = Some(directive.number("threads", value, 1)?);
        } else if let Some(value) = Directive::<MainConf>::option(&word, "max_queue") {
            max_queue = directive.number("max_queue", value, 0)?;
        } else if let Some(value) = Directive::<MainConf>::option(&word, "stack") {
            stack = Some(stack_size(&directive, value)?);
        } else {
            let word = directive.lossy(at);
            return Err(directive.error(format!(
                "has the unknown parameter \"{word}\"; it takes threads=N, max_queue=M and stack=SIZE"
            )));
        }
    }
    let Some(threads) = threads else {
        return Err(directive.error(format!("\"{name}\" has no threads=N")));
    };
    directive.conf.pools.push(PoolConfig { name, threads, max_queue, stack });
    Ok(())
});

/// Python itself needs some hundred kilobytes before an application's first call.
const LEAST_STACK: isize = 256 * 1024;

fn stack_size<C>(directive: &Directive<'_, C>, value: &[u8]) -> Result<usize, ConfError> {
    let mut text = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };
    // SAFETY: the value is readable for its length.
    let size = unsafe { ngx_parse_size(&raw mut text) };
    if size < LEAST_STACK {
        let value = String::from_utf8_lossy(value);
        return Err(
            directive.error(format!("has stack={value}; it must be a size of at least 256k"))
        );
    }
    usize::try_from(size).map_err(|_| conf::out_of_memory())
}

setter!(python_finalize, MainConf, |directive| {
    directive.once(&directive.conf.finalize)?;
    let on = match directive.bytes(1) {
        b"on" => true,
        b"off" => false,
        _ => {
            let word = directive.lossy(1);
            return Err(directive.error(format!("has \"{word}\"; it must be on or off")));
        }
    };
    let mut timeout = 2000;
    if directive.words.len() > 2 {
        let word = directive.bytes(2).to_vec();
        let Some(value) = Directive::<MainConf>::option(&word, "timeout") else {
            let word = directive.lossy(2);
            return Err(directive.error(format!("has \"{word}\"; only timeout=TIME may follow")));
        };
        timeout = directive.time(value)?;
    }
    directive.conf.finalize = Some((on, Duration::from_millis(timeout as u64)));
    Ok(())
});

setter!(python_drain_timeout, MainConf, |directive| {
    directive.once(&directive.conf.drain_timeout)?;
    let value = directive.bytes(1).to_vec();
    directive.conf.drain_timeout = Some(directive.time(&value)?);
    Ok(())
});

setter!(python_stdout_log_level, MainConf, |directive| {
    directive.once(&directive.conf.stdout_level)?;
    directive.conf.stdout_level = Some(level(&directive)?);
    Ok(())
});

setter!(python_stderr_log_level, MainConf, |directive| {
    directive.once(&directive.conf.stderr_level)?;
    directive.conf.stderr_level = Some(level(&directive)?);
    Ok(())
});

fn level<C>(directive: &Directive<'_, C>) -> Result<Level, ConfError> {
    Ok(match directive.bytes(1) {
        b"emerg" => Level::Emerg,
        b"alert" => Level::Alert,
        b"crit" => Level::Crit,
        b"error" => Level::Error,
        b"warn" => Level::Warn,
        b"notice" => Level::Notice,
        b"info" => Level::Info,
        b"debug" => Level::Debug,
        _ => {
            let word = directive.lossy(1);
            return Err(directive.error(format!(
                "has the unknown level \"{word}\"; write emerg, alert, crit, error, warn, notice, info \
                 or debug"
            )));
        }
    })
}
