//! The setters of `wsgi_*`, for http, server and location.

use std::ffi::{c_char, c_void};

use nginx_sys::{
    ngx_command_t, ngx_conf_set_size_slot, ngx_conf_t, ngx_http_compile_complex_value,
    ngx_http_compile_complex_value_t, ngx_http_complex_value_t, ngx_pcalloc,
};

use super::reader::{Directive, set, setter};
use crate::bridge::config::{ClientAbort, Debug};
use crate::http::{header, path};
use crate::nginx::conf::checks::target::{self, Target};
use crate::nginx::conf::{self, App, ConfError, LocConf, Param, ParamValue};
use crate::nginx::sys;

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
    // SAFETY: the main configuration of this module is there from the start of http.
    core.handler = Some(unsafe { (*conf::main_conf(directive.cf)).handlers.content });
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

setter!(wsgi_client_abort, LocConf, |directive| {
    directive.once(&directive.conf.client_abort)?;
    directive.conf.client_abort = Some(match directive.bytes(1) {
        b"ignore" => ClientAbort::Ignore,
        b"notify" => ClientAbort::Notify,
        b"cancel" => ClientAbort::Cancel,
        _ => {
            let word = directive.lossy(1);
            return Err(
                directive.error(format!("has \"{word}\"; it must be ignore, notify or cancel"))
            );
        }
    });
    Ok(())
});

setter!(wsgi_debug, LocConf, |directive| {
    directive.once(&directive.conf.debug)?;
    directive.conf.debug = Some(match directive.bytes(1) {
        b"off" => Debug::Off,
        b"traceback" => Debug::Traceback,
        b"validate" => Debug::Validate,
        _ => {
            let word = directive.lossy(1);
            return Err(
                directive.error(format!("has \"{word}\"; it must be off, traceback or validate"))
            );
        }
    });
    Ok(())
});

setter!(wsgi_hide_header, LocConf, |directive| {
    let name = header_name(&directive)?;
    directive.conf.hide_headers.get_or_insert_default().insert(&name);
    Ok(())
});

setter!(wsgi_pass_header, LocConf, |directive| {
    let name = header_name(&directive)?;
    directive.conf.pass_headers.get_or_insert_default().insert(&name);
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
    if matches!(&*name, b"wsgi.input" | b"pywsgi.request") {
        let text = format!("sets {}, which is an object of the request's own", directive.lossy(1));
        return Err(directive.error(text));
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
    // SAFETY: nginx is reading.
    let place = unsafe { conf::place(directive.cf) };
    directive.conf.pool = Some((name, place));
    Ok(())
});

pub(super) unsafe extern "C" fn wsgi_buffer_size(
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
