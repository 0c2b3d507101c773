//! `python_process … keep=on`: processes that go on when nginx is reloaded, with all that they have imported.
//!
//! | when | who | |
//! |---|---|---|
//! | the configuration is read ([`ask`]) | the master | compares what it says of the group with what the last one has said, and asks the processes whether their files are still the same |
//! | | each process (`process/keeping.rs`) | answers |
//! | it is taken over ([`commit`]) | the master | keeps the processes in its table: they are told to end no more than those that it starts now, and are started again if they die |
//! | from then on | the new web workers | meet them at the sockets that the processes have ([`Meetings`](super::meetings::Meetings)), beside the old ones |
//!
//! If anything is different, or a process does not answer, the group is reloaded as any other. All processes of a group go
//! on, or none.

mod ask;
mod commit;
mod known;

pub(super) use ask::ask;
pub(super) use commit::commit;
pub(super) use known::{Kept, forget};
