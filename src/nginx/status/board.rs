//! The board of this nginx: mapped once by the master, inherited by its workers.

use std::sync::{Arc, PoisonError, RwLock};

use nginx_sys::{NGINX_VERSION, ngx_cycle_t, ngx_worker};

use crate::bridge::clock;
use crate::bridge::code::Code;
use crate::bridge::config::{AppConfig, Role, WorkerConfig};
use crate::bridge::replacement::REASONS;
use crate::metrics::board::{Board, Configured, Group, Meters, System};
use crate::metrics::groups::Member;
use crate::metrics::names::AppName;
use crate::metrics::snapshot::Versions;
use crate::metrics::words::Words;
use crate::metrics::zone::{Layout, Zone};
use crate::nginx::conf::MainConf;
use crate::nginx::log;
use crate::nginx::shared_words::SharedWords;
use crate::nginx::sys;

/// Written by the master alone.
static BOARD: RwLock<Option<Arc<Board>>> = RwLock::new(None);

/// What there is room for beyond twice what the first configuration has: the next ones may have others.
const MORE: usize = 4;

/// That of this process, if it has one.
pub(in crate::nginx) fn current() -> Option<Arc<Board>> {
    BOARD.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The master has taken over a configuration, and starts its workers next.
///
/// # Safety
///
/// Called in nginx's `init_module`, with the new cycle.
pub(in crate::nginx) unsafe fn publish(cycle: *mut ngx_cycle_t) {
    // SAFETY: the cycle is the new one.
    let Some(main) = (unsafe { MainConf::of_cycle(cycle) }) else { return };
    let say = |code, text: &str| {
        // SAFETY: the cycle has a log.
        unsafe { log::message((*cycle).log, code, text) }
    };
    let names = main.groups.roles().map(|role| configured(&main.worker_config(role)));
    // A process of a group may have other pools and loops than the workers.
    let names = names.reduce(Configured::and).unwrap_or_default();
    // Also those that the master does not have to start, because they go on.
    let workers = main.groups.numbers().end;
    let mut current = BOARD.write().unwrap_or_else(PoisonError::into_inner);
    if current.is_none() {
        if !main.has_apps() && !main.has_status {
            return;
        }
        match make(main, &names) {
            Ok(board) => *current = Some(Arc::new(board)),
            Err(error) => {
                say(
                    Code::StatusWithoutMemory,
                    &format!(
                        "memory to share with the workers cannot be mapped (mmap): {error}; there \
                         are no numbers of them (python_status)"
                    ),
                );
                return;
            }
        }
    }
    let Some(board) = current.as_mut().map(Arc::make_mut) else { return };
    let homeless = board.configure(&names);
    let layout = board.zone().layout();
    if !homeless.is_empty() {
        let list = homeless.join("\", \"");
        say(
            Code::StatusWithoutRoom,
            &format!(
                "python_status has no numbers of \"{list}\" until nginx is restarted: it was started \
                 with much fewer of them"
            ),
        );
    }
    // While nginx is reloaded, those of both configurations live.
    let wanted = 2 * workers.max(1);
    if layout.areas < wanted {
        let size = layout.bytes(wanted).div_ceil(1024);
        say(
            Code::StatusWithoutRoom,
            &format!(
                "python_status_zone has room for {} processes; {wanted} may live at once while nginx \
                 is reloaded: write at least {size}k, and restart nginx",
                layout.areas
            ),
        );
    }
}

fn make(main: &MainConf, names: &Configured) -> std::io::Result<Board> {
    let room = |names: usize| 2 * names + MORE;
    let layout = Layout {
        apps: room(names.apps.len()),
        pools: room(names.pools.len()),
        loops: room(names.loops.len()),
        groups: room(names.groups.len()),
        areas: 0,
    };
    let layout = layout.of(main.status_zone.unwrap_or(DEFAULT_ZONE));
    let map = |longs: usize| {
        // It is kept until the process ends.
        let words: &'static SharedWords = Box::leak(Box::new(SharedWords::new(2 * longs.max(1))?));
        Ok::<_, std::io::Error>(Words::new(words.longs()))
    };
    let zone = Zone::new(layout, map(layout.words())?, map(layout.answer_words())?);
    let nginx = NGINX_VERSION.to_string_lossy().into_owned();
    let versions = Versions {
        module: env!("CARGO_PKG_VERSION"),
        nginx,
        python: env!("PYWSGI_PYTHON_VERSION"),
    };
    let system = System {
        versions,
        reasons: &REASONS,
        lives: sys::runs,
        memory,
        clock: clock::milliseconds,
    };
    Ok(Board::new(zone, system))
}

/// Default of `python_status_zone`.
const DEFAULT_ZONE: usize = 1 << 20;

/// What this process, which starts to run applications, counts in.
pub(in crate::nginx) fn meters(config: &WorkerConfig) -> Option<Meters> {
    // SAFETY: nginx has set it for this process.
    let number = unsafe { ngx_worker };
    let member = match config.role {
        Role::Web => None,
        Role::Application { group, slot } => Some(Member { group, slot }),
    };
    current()?.meters(&configured(config), std::process::id(), number, member)
}

fn configured(config: &WorkerConfig) -> Configured {
    let group = |at: usize| config.groups.get(at).map(|group| group.name.clone());
    let app = |app: &AppConfig| AppName {
        protocol: app.protocol.to_string(),
        target: app.target.clone(),
        process: app.group.and_then(group),
    };
    Configured {
        apps: config.apps.iter().map(app).collect(),
        pools: config.pools.iter().map(|pool| pool.name.clone()).collect(),
        loops: config.loops.iter().map(|own| own.name.clone()).collect(),
        groups: config
            .groups
            .iter()
            .map(|group| Group { name: group.name.clone(), processes: group.processes })
            .collect(),
    }
}

/// Bytes of a process's memory that are in RAM, if the system says so.
fn memory(process: u32) -> Option<u64> {
    sys::resident_memory(process).ok()
}
