//! How Python starts, lives and ends in a process: what `http` sets for all, and a `python_process` for its own.

use std::time::Duration;

use nginx_sys::ngx_msec_t;

use crate::bridge::config::InterpreterConfig;

/// `None`: what `http` says, in a group; the default, in `http`.
#[derive(Clone, Debug, Default)]
pub(in crate::nginx) struct Settings {
    pub(in crate::nginx) interpreter: InterpreterConfig,
    pub(in crate::nginx) finalize: Option<(bool, Duration)>,
    pub(in crate::nginx) drain_timeout: Option<ngx_msec_t>,
    /// 0: off.
    pub(in crate::nginx) deadlock_timeout: Option<ngx_msec_t>,
    pub(in crate::nginx) max_stuck_threads: Option<usize>,
    /// `Some(None)`: off, as with the next two.
    pub(in crate::nginx) max_requests: Option<Option<Jittered>>,
    /// In milliseconds.
    pub(in crate::nginx) max_lifetime: Option<Option<Jittered>>,
    pub(in crate::nginx) memory_limit: Option<Option<MemoryLimit>>,
}

impl Settings {
    /// Those of a group's processes, if these are the group's and `common` those of `http`.
    pub(super) fn or(&self, common: &Self) -> Self {
        Self {
            interpreter: interpreter(&self.interpreter, &common.interpreter),
            finalize: self.finalize.or(common.finalize),
            drain_timeout: self.drain_timeout.or(common.drain_timeout),
            deadlock_timeout: self.deadlock_timeout.or(common.deadlock_timeout),
            max_stuck_threads: self.max_stuck_threads.or(common.max_stuck_threads),
            max_requests: self.max_requests.or(common.max_requests),
            max_lifetime: self.max_lifetime.or(common.max_lifetime),
            memory_limit: self.memory_limit.or(common.memory_limit),
        }
    }
}

fn interpreter(own: &InterpreterConfig, common: &InterpreterConfig) -> InterpreterConfig {
    let list = |own: &Vec<String>, common: &Vec<String>| match own.is_empty() {
        true => common.clone(),
        false => own.clone(),
    };
    InterpreterConfig {
        optimize: own.optimize.or(common.optimize),
        dont_write_bytecode: own.dont_write_bytecode.or(common.dont_write_bytecode),
        hash_seed: own.hash_seed.or(common.hash_seed),
        warnings: list(&own.warnings, &common.warnings),
        xoptions: list(&own.xoptions, &common.xoptions),
        switch_interval: own.switch_interval.or(common.switch_interval),
        gc_freeze: own.gc_freeze.or(common.gc_freeze),
    }
}

/// A limit that each process has for itself, so that not all reach it at once: `least`, and up to `jitter` more.
#[derive(Clone, Copy, Debug)]
pub(in crate::nginx) struct Jittered {
    pub(in crate::nginx) least: u64,
    pub(in crate::nginx) jitter: u64,
}

impl Jittered {
    /// The limit of a process that has drawn this random number.
    pub(in crate::nginx) fn limit(self, random: u64) -> u64 {
        let more = self.jitter.checked_add(1).map_or(random, |choices| random % choices);
        self.least.saturating_add(more)
    }
}

/// `python_memory_limit`, in bytes and milliseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::nginx) struct MemoryLimit {
    pub(in crate::nginx) soft: u64,
    pub(in crate::nginx) hard: Option<u64>,
    pub(in crate::nginx) check: ngx_msec_t,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jittered_limit_lies_between_both_ends() {
        let limit = Jittered { least: 10, jitter: 2 };
        assert_eq!([0, 1, 2, 3, u64::MAX].map(|random| limit.limit(random)), [10, 11, 12, 10, 10]);
        assert_eq!(Jittered { least: 10, jitter: 0 }.limit(u64::MAX), 10);
        assert_eq!(Jittered { least: 10, jitter: u64::MAX }.limit(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_group_has_of_http_what_it_does_not_set() {
        let limit = Jittered { least: 10, jitter: 0 };
        let common = Settings {
            max_requests: Some(Some(limit)),
            max_lifetime: Some(Some(limit)),
            drain_timeout: Some(5),
            interpreter: InterpreterConfig {
                optimize: Some(1),
                warnings: vec!["error".to_owned()],
                ..InterpreterConfig::default()
            },
            ..Settings::default()
        };
        let own = Settings {
            max_requests: Some(None),
            drain_timeout: Some(7),
            interpreter: InterpreterConfig {
                optimize: Some(0),
                xoptions: vec!["dev".to_owned()],
                ..InterpreterConfig::default()
            },
            ..Settings::default()
        };
        let both = own.or(&common);
        assert!(matches!(both.max_requests, Some(None)));
        assert!(matches!(both.max_lifetime, Some(Some(Jittered { least: 10, .. }))));
        assert_eq!((both.drain_timeout, both.max_stuck_threads), (Some(7), None));
        assert_eq!(both.interpreter.optimize, Some(0));
        assert_eq!(both.interpreter.warnings, ["error"]);
        assert_eq!(both.interpreter.xoptions, ["dev"]);
    }
}
