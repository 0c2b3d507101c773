//! The module's configuration: what the directives set, how it is inherited, and where nginx keeps it.

pub(super) mod asgi;
pub(super) mod checks;
mod common;
pub(super) mod env_file;
mod environment;
mod error;
mod files;
mod fingerprint;
pub(super) mod groups;
mod handlers;
mod levels;
mod links;
mod location;
mod main;
mod output;
mod reading;
mod settings;
mod shared;
mod stages;
mod status;
mod worker;
pub(super) mod wsgi;

pub(super) use self::common::{App, CommonConf, Param, ParamValue};
pub(super) use self::environment::Variable;
pub(super) use self::error::{ConfError, Place};
pub(super) use self::groups::Group;
pub(super) use self::handlers::Handlers;
pub(super) use self::levels::{LocConf, location_of, status_of};
pub(super) use self::location::{Location, NO_LIMIT, limit};
pub(super) use self::main::{Check, DEFAULT_CHECK, DEFAULT_MAX_QUEUE, MainConf};
pub(super) use self::output::Output;
pub(super) use self::reading::{Reading, add_workers, log_folders, nginx_core_conf, open_files};
pub(super) use self::settings::{Jittered, MemoryLimit, Settings};
pub(super) use self::shared::BatonMemory;
pub(super) use self::stages::{
    create_loc_conf, create_main_conf, init_main_conf, merge_loc_conf, postconfiguration,
};
pub(super) use self::status::{Shown, StatusFormat};
