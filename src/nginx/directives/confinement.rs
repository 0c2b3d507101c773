//! The limits among the parameters of `python_process`.

use std::path::Path;

use nginx_sys::{ngx_parse_offset, ngx_str_t};

use super::reader::Directive;
use crate::nginx::conf::checks::access::Need;
use crate::nginx::conf::{ConfError, Group, MainConf};
use crate::nginx::confinement::{Limit, PROCESSES, Resource, Restriction, Unit};

/// What the message about an unknown parameter lists.
pub(super) const PARAMETERS: &str =
    "rlimit_…=, nice=, oom_score_adj=, umask=, cgroup=, no_new_privs=on|off, restrict=, writable=";

/// Reads a parameter; false if there is none of that name.
pub(super) fn read(
    directive: &mut Directive<'_, MainConf>,
    group: &mut Group,
    key: &str,
    value: &str,
) -> Result<bool, ConfError> {
    if let Some(name) = key.strip_prefix("rlimit_") {
        let limit = limit(directive, name, value)?;
        group.confinement.limits.push(limit);
        return Ok(true);
    }
    match key {
        "nice" => group.confinement.nice = Some(integer(directive, key, value, 0, 19)?),
        "oom_score_adj" => {
            let adjustment = integer(directive, key, value, -1000, 1000)?;
            group.confinement.oom_score_adj = Some(adjustment);
        }
        "umask" => {
            let is_octal =
                value.len() <= 4 && value.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            let umask = u32::from_str_radix(value, 8).ok().filter(|it| is_octal && *it <= 0o777);
            group.confinement.umask = Some(umask.ok_or_else(|| {
                directive.error(format!("has umask={value}; it must be octal, such as 027"))
            })?);
        }
        "cgroup" => {
            let folder = Path::new(value);
            let file = folder.join(PROCESSES);
            if !folder.is_absolute() || !file.is_file() {
                return Err(directive.error(format!(
                    "has cgroup={value}, which is not the folder of a cgroup (it has no {PROCESSES}); write one below \
                     /sys/fs/cgroup that the workers' user may move processes to"
                )));
            }
            directive.conf.need_as(group.needed(key, file, Need::Write));
            group.confinement.cgroup = Some(folder.to_path_buf());
        }
        "no_new_privs" => {
            group.confinement.no_new_privs = directive.on_or_off(value.as_bytes())?;
        }
        "restrict" => group.confinement.restrictions = restrictions(directive, value)?,
        "writable" => {
            let path = Path::new(value);
            if !path.is_absolute() || !path.exists() {
                return Err(directive.error(format!(
                    "has writable={value}, which is not there; write the absolute path of a directory or a file"
                )));
            }
            group.confinement.writable.push(path.to_path_buf());
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// All parameters have been read.
pub(super) fn check(directive: &Directive<'_, MainConf>, group: &Group) -> Result<(), ConfError> {
    let confinement = &group.confinement;
    if !confinement.writable.is_empty() && !confinement.restrictions.contains(&Restriction::Write) {
        return Err(directive.error(
            "has writable= without restrict=write, and so nothing that it would except; add restrict=write, or remove \
             writable=",
        ));
    }
    Ok(())
}

fn limit(directive: &Directive<'_, MainConf>, name: &str, value: &str) -> Result<Limit, ConfError> {
    let resource = Resource::named(name).ok_or_else(|| {
        let names = Resource::ALL.map(|resource| format!("rlimit_{}", resource.name)).join(", ");
        directive.error(format!("has the unknown parameter rlimit_{name}=; it takes {names}"))
    })?;
    let key = format!("rlimit_{name}");
    let value = match resource.unit {
        Unit::Bytes => size(directive, &key, value)?,
        Unit::Count => directive.number(&key, value.as_bytes(), 1)? as libc::rlim_t,
        Unit::Seconds => match directive.time(value.as_bytes())? / 1000 {
            0 => {
                return Err(
                    directive.error(format!("has {key}={value}; it must be a time of at least 1s"))
                );
            }
            seconds => seconds as libc::rlim_t,
        },
    };
    if name == "as" && value < LEAST_MEMORY {
        return Err(directive.error(format!(
            "has {key}={}m; Python needs more address space to start: write at least {}m",
            value / MEGABYTE,
            LEAST_MEMORY / MEGABYTE
        )));
    }
    Ok(Limit { resource, value })
}

const MEGABYTE: libc::rlim_t = 1 << 20;

/// nginx and CPython map that much before an application is imported, each thread's stack not counted.
const LEAST_MEMORY: libc::rlim_t = 256 * MEGABYTE;

fn size(
    directive: &Directive<'_, MainConf>,
    key: &str,
    value: &str,
) -> Result<libc::rlim_t, ConfError> {
    let mut text = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };
    // SAFETY: the value is readable for its length.
    let size = unsafe { ngx_parse_offset(&raw mut text) };
    libc::rlim_t::try_from(size)
        .map_err(|_| directive.error(format!("has {key}={value}; it must be a size such as 512m")))
}

fn integer(
    directive: &Directive<'_, MainConf>,
    key: &str,
    value: &str,
    least: i32,
    most: i32,
) -> Result<i32, ConfError> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        directive.error(format!("has {key}={value}; it must be a number from {least} to {most}"))
    })
}

fn restrictions(
    directive: &Directive<'_, MainConf>,
    value: &str,
) -> Result<Vec<Restriction>, ConfError> {
    let mut all = Vec::new();
    for name in value.split(',') {
        let restriction = Restriction::named(name).ok_or_else(|| {
            let names = Restriction::ALL.map(|(name, _)| name).join(", ");
            directive.error(format!(
                "has restrict={value} with the unknown \"{name}\"; it takes a list of {names}, with commas"
            ))
        })?;
        if all.contains(&restriction) {
            return Err(directive.error(format!("has \"{name}\" twice in restrict={value}")));
        }
        restriction
            .check()
            .map_err(|what| directive.error(format!("has restrict={name}, which {what}")))?;
        all.push(restriction);
    }
    Ok(all)
}
