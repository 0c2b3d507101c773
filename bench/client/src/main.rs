//! Clients that cost little, for works that wrk cannot do: WebSockets and server-sent events.
//!
//!     bench-client echo   --port 8080 --path /echo --connections 16 --seconds 2 --message FILE [--text] [--deflate]
//!     bench-client events --port 8080 --path /events --connections 1000 --seconds 2
//!     bench-client idle   --port 8080 --path /echo --connections 10000 [--deflate]
//!
//! It prints `ready` when all connections are open and reads a line. Then it measures, prints one
//! line of JSON, and ends when its input is closed. So what the server uses for the connections'
//! beginning and end can be kept out of a measurement. `idle` only answers pings.

mod arguments;
mod clients;
mod echo;
mod events;
mod figures;
mod frames;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clients::Clients;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    allow_files(arguments.connections)?;
    match &arguments.command {
        Command::Echo(message) => measure(&arguments, &echo::Echo::new(message, &arguments.path)),
        Command::Idle(deflate) => measure(&arguments, &echo::Echo::idle(&arguments.path, *deflate)),
        Command::Events => measure(&arguments, &events::Events::new(&arguments.path)),
    }
}

fn measure<K: clients::Kind>(arguments: &Arguments, kind: &K) -> Result<(), String> {
    let mut clients = Clients::open(kind, arguments.port, arguments.connections)?;
    println!("ready");
    if clients.wait_for_line()? {
        println!("{}", clients.measure(arguments.seconds)?);
        clients.wait_for_line()?;
    }
    Ok(())
}

/// Raises the limit of open files, as far as this user may.
fn allow_files(connections: usize) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = connections as u64 + 100;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|limit| limit >= wanted) {
        return Ok(());
    }
    let maximum = now.maximum.map(|limit| limit.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .map_err(|error| format!("{wanted} open files: {error}"))
}
