//! Of which groups the processes may go on: the master asks while it reads a configuration, before it checks the others.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nginx_sys::{NGX_PROCESS_MASTER, ngx_cycle, ngx_process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{fstat, stat};

use super::known::{KnownGroup, KnownProcess, known};
use crate::bridge::code::Code;
use crate::bridge::process::descriptors::{self, Received};
use crate::bridge::process::question::{ANSWER, Answer, Question};
use crate::nginx::conf::{Group, MainConf, Reading, open_files};

/// All processes together have so long to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Messages that a process may have left in its socket. It could send them as fast as they are read.
const MOST_OLD: usize = 1000;

/// Numbers questions, so that an answer that comes too late is not taken for another one.
static QUESTIONS: AtomicU64 = AtomicU64::new(1);

/// Notes in the configuration which groups' processes may go on, and logs why others may not.
pub(in crate::nginx) fn ask(reading: &Reading) {
    // SAFETY: the configuration's cycle, and no setter of it runs any more.
    let Some(main) = (unsafe { MainConf::of_cycle(reading.cycle()) }) else { return };
    let groups = main.groups.all();
    // SAFETY: the cycle is that of the configuration.
    let said = |at| unsafe { main.fingerprint(reading.cycle(), at) };
    let said = groups.iter().zip(0..).map(|(group, at)| if group.keep { said(at) } else { None });
    let said: Vec<_> = said.collect();
    // SAFETY: nginx writes it as it starts a process, and nothing else does meanwhile.
    if unsafe { ngx_process } == NGX_PROCESS_MASTER as usize {
        let known = known();
        let rotated = rotated_log();
        let mut asked = Vec::new();
        let may = groups.iter().zip(&said).map(|(group, said)| {
            let known = known.groups.iter().find(|known| known.name == group.name);
            // It is new, or was not to be kept.
            let known = known.filter(|_| group.keep && group.count() > 0)?;
            let same = is_same(known, said.as_deref(), rotated.as_deref());
            Some((known, same))
        });
        let may: Vec<_> = may.collect();
        for (known, _) in may.iter().flatten().filter(|(_, same)| same.is_ok()) {
            asked.extend(known.processes.iter().enumerate().map(|(slot, process)| Asked {
                name: &known.name,
                slot,
                process,
                answer: None,
            }));
        }
        ask_all(&mut asked);
        let keepable = groups.iter().zip(may).map(|(group, may)| {
            let Some((_, same)) = may else { return false };
            let answers = asked.iter().filter(|asked| asked.name == group.name);
            let result = same.and_then(|()| answers.into_iter().try_for_each(Asked::result));
            if let Err(why) = &result {
                say_replaced(reading, group, why);
            }
            result.is_ok()
        });
        main.groups.set_keepable(keepable.collect());
    }
    main.groups.set_said(said);
}

fn is_same(known: &KnownGroup, said: Option<&str>, rotated: Option<&Path>) -> Result<(), String> {
    let [before, _] = &known.said;
    match (said, before) {
        (None, _) | (_, None) => {
            Err("its error_log or python_log is a syslog, which is not compared".to_owned())
        }
        (Some(said), Some(before)) if said != before => {
            Err("its configuration has changed".to_owned())
        }
        _ => rotated.map_or(Ok(()), |path| {
            Err(format!(
                "another file is named \"{}\" now, and they write to the old one",
                path.display()
            ))
        }),
    }
}

fn say_replaced(reading: &Reading, group: &Group, why: &str) {
    let text = format!(
        "python_process \"{}\" (keep=on): its processes are replaced in this reload: {why}",
        group.name
    );
    reading.log(Code::ProcessesReplaced, &text);
}

/// A log that has been moved since nginx has opened it: its processes would go on writing to that.
fn rotated_log() -> Option<PathBuf> {
    // SAFETY: nginx's cycle is the running one, while it reads the next.
    let files = unsafe { open_files(ngx_cycle) };
    let is_moved = |(name, fd): &(PathBuf, _)| {
        if !name.is_absolute() || *fd < 0 {
            return false;
        }
        // SAFETY: nginx keeps it open as long as its cycle.
        let opened = fstat(unsafe { BorrowedFd::borrow_raw(*fd) });
        match (opened, stat(name)) {
            (Ok(opened), Ok(named)) => {
                (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino)
            }
            _ => true,
        }
    };
    files.into_iter().find(is_moved).map(|(name, _)| name)
}

/// A process that is asked.
struct Asked<'a> {
    name: &'a str,
    slot: usize,
    process: &'a KnownProcess,
    answer: Option<Result<(), String>>,
}

impl Asked<'_> {
    fn result(&self) -> Result<(), String> {
        match &self.answer {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(why.clone()),
            None => {
                Err(format!("process {} has not answered within {} s", self.slot, LIMIT.as_secs()))
            }
        }
    }
}

/// Asks all of them, and waits for the answers.
fn ask_all(all: &mut [Asked<'_>]) {
    let question = Question(QUESTIONS.fetch_add(1, Ordering::Relaxed));
    for asked in all.iter_mut() {
        // What has not been read before is no answer to this one.
        let web = &asked.process.meeting.web;
        for _ in 0..MOST_OLD {
            if !matches!(descriptors::receive(web, &mut [0; ANSWER]), Ok(Received::Message(..))) {
                break;
            }
        }
        if !matches!(descriptors::send(web, &question.to_bytes(), &[]), Ok(true)) {
            asked.answer = Some(Err(format!("process {} cannot be asked", asked.slot)));
        }
    }
    let until = Instant::now() + LIMIT;
    while all.iter().any(|asked| asked.answer.is_none()) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || !wait(all, left) {
            return;
        }
        for asked in all.iter_mut().filter(|asked| asked.answer.is_none()) {
            let mut bytes = [0; ANSWER];
            let received = descriptors::receive(asked.process.meeting.web.as_fd(), &mut bytes);
            let Ok(Received::Message(length, _)) = received else { continue };
            let answer = bytes.get(..length).and_then(Answer::of_bytes);
            asked.answer = answer.filter(|it| it.question == question).map(|it| it.result);
        }
    }
}

/// Waits until one has answered; false if that is impossible.
fn wait(all: &[Asked<'_>], left: Duration) -> bool {
    let waiting = all.iter().filter(|asked| asked.answer.is_none());
    let mut polled: Vec<_> =
        waiting.map(|asked| PollFd::new(&asked.process.meeting.web, PollFlags::IN)).collect();
    let left = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    match poll(&mut polled, Some(&left)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => true,
        Err(_) => false,
    }
}
