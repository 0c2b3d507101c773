//! `python_check`: while nginx reads its configuration, a child imports the applications as a worker would. If it
//! cannot, nginx refuses the configuration, and on a reload the old workers serve on.
//!
//! | process | does |
//! |---|---|
//! | nginx, which reads its configuration ([`ask`]) | forks the supervisor, and logs what the others report |
//! | the supervisor ([`supervisor`]) | forks the checker, waits for it, and ends all processes that it leaves behind |
//! | the checker ([`checker`]) | starts Python as the workers' user, imports the applications, ends Python |
//!
//! Nothing of Python runs in nginx's own process, and an import may end, kill, fork or hang as it likes.

mod ask;
mod checker;
mod record;
mod supervisor;

pub(super) use ask::{Running, check_applications};
