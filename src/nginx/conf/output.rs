//! Where the output of applications goes (`python_log`), and what nginx opens for it.

use std::ptr;
use std::sync::Arc;

use nginx_sys::{
    ngx_conf_open_file, ngx_open_file_t, ngx_pcalloc, ngx_syslog_peer_t, ngx_syslog_process_conf,
};

use super::error::{ConfError, Place};
use super::reading::Reading;
use crate::bridge::code::Code;
use crate::bridge::config::OutputConfig;
use crate::bridge::log::Level;
use crate::bridge::output_log::{Destination, OutputLog, RecordFile};
use crate::nginx::sys;

/// A `python_log`, and where it stands.
#[derive(Clone, Debug)]
pub(in crate::nginx) struct Output {
    pub(in crate::nginx) log: Arc<OutputLog>,
    pub(in crate::nginx) place: Place,
}

impl Output {
    pub(super) fn by_default(place: Place) -> Self {
        Self { log: Arc::default(), place }
    }
}

/// What all `python_log`s together need, and what they are used for.
#[derive(Debug, Default)]
pub(in crate::nginx) struct Outputs {
    /// nginx opens these, and opens them again on USR1.
    files: Vec<(Arc<RecordFile>, *mut ngx_open_file_t)>,
    /// nginx's standard error.
    stderr: Option<Arc<RecordFile>>,
    syslogs: Vec<*mut ngx_syslog_peer_t>,
    /// That of `http`.
    pub(in crate::nginx) of_http: Option<Output>,
    /// Those of each application's locations, each once.
    of_apps: Vec<Vec<Output>>,
}

impl Outputs {
    /// A file, which nginx opens after it has read its configuration. Directives that name the same one share it.
    pub(in crate::nginx) fn file(
        &mut self,
        reading: &Reading,
        name: &[u8],
    ) -> Result<Destination, ConfError> {
        let mut copy = reading.copy(name)?;
        // SAFETY: nginx reads its configuration; the name lives as long as it.
        let opened = unsafe { ngx_conf_open_file(reading.cycle(), &raw mut copy) };
        // SAFETY: it is null, or lives as long as the configuration; its name, too.
        let Some(name) = (unsafe { opened.as_ref().map(|file| sys::bytes(file.name)) }) else {
            return Err(ConfError::out_of_memory());
        };
        if let Some((file, _)) = self.files.iter().find(|(_, known)| *known == opened) {
            return Ok(Destination::File(Arc::clone(file)));
        }
        let file = Arc::new(RecordFile::new(String::from_utf8_lossy(name).into_owned()));
        self.files.push((Arc::clone(&file), opened));
        Ok(Destination::File(file))
    }

    pub(in crate::nginx) fn standard_error(&mut self) -> Destination {
        let file = self.stderr.get_or_insert_with(|| Arc::new(RecordFile::standard_error()));
        Destination::File(Arc::clone(file))
    }

    /// The syslog that the first argument of the directive describes, which nginx reads now; `None` if that is invalid,
    /// which is then in the log.
    pub(in crate::nginx) fn syslog(
        &mut self,
        reading: &Reading,
    ) -> Result<Option<Destination>, ConfError> {
        let size = size_of::<ngx_syslog_peer_t>();
        // SAFETY: the configuration's pool.
        let peer = unsafe { ngx_pcalloc(reading.pool(), size) }.cast::<ngx_syslog_peer_t>();
        if peer.is_null() {
            return Err(ConfError::out_of_memory());
        }
        // SAFETY: nginx reads a directive; the peer is zeroed, as ngx_error_log begins.
        if unsafe { ngx_syslog_process_conf(reading.as_ptr(), peer) } != sys::CONF_OK {
            return Ok(None);
        }
        self.syslogs.push(peer);
        Ok(Some(Destination::Syslog(self.syslogs.len() - 1)))
    }

    /// Notes that a location of that application has this `python_log`.
    pub(super) fn add_location(&mut self, app: usize, output: &Output) {
        if self.of_apps.len() <= app {
            self.of_apps.resize_with(app + 1, Vec::new);
        }
        if let Some(known) = self.of_apps.get_mut(app) {
            if !known.iter().any(|known| known.log.is_same(&output.log)) {
                known.push(output.clone());
            }
        }
    }

    /// What the threads need of it.
    pub(super) fn config(&self) -> OutputConfig {
        let logs = |outputs: &Vec<Output>| outputs.iter().map(|it| Arc::clone(&it.log)).collect();
        OutputConfig { worker: self.of_worker(), apps: self.of_apps.iter().map(logs).collect() }
    }

    /// That of threads that an application has started: of `http`, or else what all locations have.
    fn of_worker(&self) -> Arc<OutputLog> {
        let mut all = self.of_apps.iter().flatten();
        let first = self.of_http.as_ref().or_else(|| {
            let first = all.next()?;
            all.all(|other| other.log.is_same(&first.log)).then_some(first)
        });
        first.map(|output| Arc::clone(&output.log)).unwrap_or_default()
    }

    /// Where what applications print is left out, and what to do about it.
    pub(super) fn hidden(&self, stdout: Level, stderr: Level) -> impl Iterator<Item = String> {
        let mut places: Vec<&Place> = Vec::new();
        self.of_apps.iter().flatten().chain(&self.of_http).filter_map(move |Output { log, place }| {
            let hidden = match (log.form(stdout), log.form(stderr)) {
                (Some(_), Some(_)) => return None,
                (None, Some(_)) => "to stdout",
                (Some(_), None) => "to stderr",
                (None, None) => "to stdout and stderr",
            };
            if places.iter().any(|known| (&known.file, known.line) == (&place.file, place.line)) {
                return None;
            }
            places.push(place);
            let why = match log.to {
                Destination::Nowhere => "off".to_owned(),
                _ => format!("level={}", log.level.name()),
            };
            let text = format!(
                "python_log {why}: what applications print {hidden} is not logged (python_stdout_log_level is {}, \
                 python_stderr_log_level is {})",
                stdout.name(),
                stderr.name()
            );
            Some(ConfError::at(Code::OutputHidden, text, place).text)
        })
    }

    /// The files, with what nginx has opened.
    pub(in crate::nginx) fn files(&self) -> &[(Arc<RecordFile>, *mut ngx_open_file_t)] {
        &self.files
    }

    /// The syslog of that number; null if there is none.
    pub(in crate::nginx) fn syslog_peer(&self, number: usize) -> *mut ngx_syslog_peer_t {
        self.syslogs.get(number).copied().unwrap_or(ptr::null_mut())
    }
}
