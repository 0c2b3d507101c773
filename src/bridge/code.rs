//! The numbers of the module's messages. Each begins with its own, `pywsgi[403]: …`, and docs/errors.md has a cause and a
//! cure for it. Whoever says something takes a code; its level comes with it.
//!
//! To add a message, add a line here with the next number of its group, and an entry to the page
//! (`tests/test_errors.py` compares both). A number that has been released is never given to another message, because
//! people search for it.

use std::borrow::Cow;
use std::fmt;

use super::level::Level;

macro_rules! codes {
    ($($name:ident = $number:literal $level:ident,)+) => {
        /// What a message is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub(crate) enum Code {
            $($name = $number,)+
        }

        impl Code {
            pub(crate) fn level(self) -> Level {
                match self {
                    $(Self::$name => Level::$level,)+
                }
            }

            /// That of a name, as the Python part of the module gives it.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pywsgi[{}]", *self as u16)
    }
}

/// The text of a message that is about an application, with its name, unless it begins with that.
pub(crate) fn with_application<'a>(application: Option<&str>, text: &'a str) -> Cow<'a, str> {
    match application {
        Some(name) if !text.contains("application \"") => {
            Cow::Owned(format!("application \"{name}\": {text}"))
        }
        _ => Cow::Borrowed(text),
    }
}

codes! {
    // The configuration.
    DirectiveInvalid = 101 Emerg,
    DirectiveDuplicate = 102 Emerg,
    ContentHandler = 103 Emerg,
    PoolUndefined = 104 Emerg,
    LoopUndefined = 105 Emerg,
    InlineUnbuffered = 106 Emerg,
    ApplicationTwice = 107 Emerg,
    EnvironmentTwice = 108 Emerg,
    FileUnusable = 109 Emerg,
    FilesUnchecked = 110 Emerg,
    TempPath = 111 Emerg,
    MemoryForConfiguration = 112 Emerg,
    OutputHidden = 113 Notice,
    GroupUndefined = 114 Emerg,
    GroupTwice = 115 Emerg,
    GroupInline = 116 Emerg,
    GroupsWithoutMaster = 117 Emerg,
    GroupUnused = 118 Warn,
    CheckRefused = 121 Emerg,
    CheckFinding = 122 Emerg,
    CheckImpossible = 123 Emerg,
    CheckCut = 124 Emerg,
    CheckOutput = 125 Info,

    // A worker's start, and imports.
    Started = 201 Notice,
    Imported = 202 Notice,
    ImportFailed = 203 Error,
    ImportStillFails = 204 Error,
    ImportKilledWorker = 205 Error,
    ModuleImported = 206 Notice,
    ModuleFailed = 207 Error,
    ModuleLeftOut = 208 Error,
    FilesNotWatched = 209 Error,
    PythonNotStarted = 211 Alert,
    PythonBroken = 212 Crit,
    MainThreadNotStarted = 213 Alert,
    MainThreadStarted = 214 Notice,
    HelperNotStarted = 215 Alert,
    DirectoryShared = 216 Warn,
    DirectoryNotEntered = 217 Error,
    LibrariesOfNginx = 218 Notice,
    GcNotFrozen = 219 Error,
    WatchdogNotPrepared = 220 Error,
    StartLate = 221 Warn,
    NoPython = 222 Error,
    ReloadsWithGap = 223 Alert,
    HooksFault = 224 Error,
    GroupsWithoutSockets = 225 Alert,
    NotConfined = 226 Crit,
    LinkNotMade = 227 Error,

    // A worker's life and end.
    WorkerReplaced = 301 Notice,
    WorkerStays = 302 Warn,
    SuccessorsReady = 303 Info,
    SuccessorsLate = 304 Warn,
    MemoryUnknown = 305 Error,
    MemoryLimitTooLow = 306 Warn,
    MemoryHardLimit = 307 Error,
    FilesChanged = 308 Notice,
    MasterNotTold = 309 Error,
    ReloadOff = 310 Warn,
    RequestCutAtExit = 311 Error,
    TasksCutAtExit = 312 Warn,
    CallbacksCutAtExit = 313 Warn,
    ApplicationsRunAtExit = 314 Warn,
    ExitWaits = 315 Warn,
    ExitRaised = 316 Error,
    ExitTooLong = 317 Warn,
    OutputLostAtExit = 318 Warn,
    ExitCalled = 321 Error,
    DescriptorsClosed = 322 Error,
    EventLoopStuck = 323 Error,
    Deadlock = 324 Crit,
    DeadlockOver = 325 Warn,
    SignalIgnored = 326 Warn,
    SignalHandlerRaised = 327 Error,
    ChildRaised = 328 Error,
    Panic = 329 Alert,
    ChangesUnseen = 330 Error,
    ProcessEnded = 331 Info,
    ProcessLost = 332 Error,
    ProcessBroken = 333 Error,
    WebWorkerLost = 334 Info,
    WebWorkerBroken = 335 Error,
    NotCarried = 336 Error,
    ProcessIdle = 341 Info,
    ProcessesKept = 342 Notice,
    ProcessesReplaced = 343 Notice,
    GroupChanged = 344 Notice,
    GroupRenewed = 345 Notice,
    GroupStays = 346 Emerg,

    // Threads, queues and deadlines.
    Refused = 401 Error,
    QueueTimedOut = 402 Error,
    TimedOut = 403 Error,
    StackOfTimedOut = 404 Error,
    Slow = 405 Warn,
    StackOfSlow = 406 Warn,
    RunsForNobody = 407 Error,
    PoolStuck = 408 Error,
    Interrupting = 409 Warn,
    WrittenOff = 410 Error,
    WrittenOffLeft = 411 Notice,
    ThreadNotStarted = 412 Alert,
    ThreadStarted = 413 Notice,
    CallersBusy = 414 Error,
    CallerNotStarted = 415 Alert,
    CallbackRaised = 416 Error,
    BodyNotShared = 417 Alert,
    ClientTooSlow = 418 Info,
    ThreadUnknown = 419 Error,
    FinishedDropped = 420 Warn,
    Killing = 421 Error,
    Killed = 422 Error,

    // What an application does with its request.
    Raised = 501 Error,
    RaisedWithoutClient = 502 Info,
    WithoutClient = 503 Info,
    NotCallable = 504 Error,
    RuleBroken = 505 Error,
    TooLong = 506 Error,
    CloseRaised = 507 Error,
    ClientDisconnected = 508 Info,
    RequestTimeout = 509 Info,
    HeaderDropped = 510 Warn,
    NotMounted = 511 Warn,
    TempFileUnwritable = 512 Error,
    DebugPageFailed = 513 Error,
    TaskCancelled = 514 Info,
    FieldUnknown = 515 Warn,

    // asyncio's loops, lifespans and WebSockets.
    LoopNotMade = 601 Crit,
    LoopNotStarted = 602 Alert,
    LoopStalled = 603 Warn,
    LoopTurnsAgain = 604 Warn,
    LoopFault = 605 Error,
    LoopStopIgnored = 606 Error,
    LoopRaised = 607 Error,
    LoopUnhandled = 608 Error,
    UvloopUnusable = 609 Warn,
    TasksLeft = 610 Warn,
    NotStarted = 621 Error,
    WithoutLifespan = 622 Info,
    LifespanGivenUp = 623 Warn,
    LifespanEnded = 624 Info,
    LifespanRaised = 625 Error,
    LifespanCut = 626 Info,
    ShutdownFailed = 627 Error,
    ShutdownLate = 628 Error,
    WebSocketRefused = 641 Info,
    WebSocketBroken = 642 Info,
    WebSocketLost = 643 Info,
    CloseUnanswered = 644 Info,
    PingUnanswered = 645 Info,

    // Logs and numbers.
    LogUnwritable = 701 Error,
    LogWritableAgain = 702 Error,
    LogNotReopened = 703 Alert,
    LineLost = 704 Error,
    StatusWithoutMemory = 711 Alert,
    StatusWithoutRoom = 712 Warn,
    StatusRefused = 713 Error,
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_number_a_level_and_a_name() {
        assert_eq!(Code::TimedOut.to_string(), "pywsgi[403]");
        assert_eq!(Code::TimedOut.level(), Level::Error);
        assert_eq!(Code::named("TimedOut"), Some(Code::TimedOut));
        assert_eq!(Code::named("timed_out"), None);
    }

    #[test]
    fn a_message_names_its_application_once() {
        assert_eq!(
            with_application(Some("shop.py"), "is slow"),
            "application \"shop.py\": is slow"
        );
        let text = "a thread has left application \"shop.py\"";
        assert_eq!(with_application(Some("shop.py"), text), text);
        assert_eq!(with_application(None, "is slow"), "is slow");
    }
}
