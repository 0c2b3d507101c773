//! The command line.

use std::time::Duration;

pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) connections: usize,
    pub(crate) seconds: Duration,
}

pub(crate) enum Command {
    Echo(Message),
    Events,
    /// Whether it offers to deflate.
    Idle(bool),
}

/// A message as it is sent, without its frame's head: compressed if `deflate` is set.
pub(crate) struct Message {
    pub(crate) payload: Vec<u8>,
    pub(crate) text: bool,
    pub(crate) deflate: bool,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let command = words.next().unwrap_or_default();
        let (mut port, mut path, mut connections, mut seconds) = (0, String::new(), 1, 1);
        let (mut payload, mut text, mut deflate) = (Vec::new(), false, false);
        while let Some(option) = words.next() {
            match option.as_str() {
                "--text" => text = true,
                "--deflate" => deflate = true,
                _ => {
                    let value = words.next().ok_or(format!("{option} has no value"))?;
                    match option.as_str() {
                        "--port" => port = number(&option, &value)?,
                        "--path" => path = value,
                        "--connections" => connections = number(&option, &value)?,
                        "--seconds" => seconds = number(&option, &value)?,
                        "--message" => {
                            payload = std::fs::read(&value).map_err(|e| format!("{value}: {e}"))?;
                        }
                        _ => return Err(format!("unknown option {option}")),
                    }
                }
            }
        }
        let command = match command.as_str() {
            "echo" => Command::Echo(Message { payload, text, deflate }),
            "events" => Command::Events,
            "idle" => Command::Idle(deflate),
            _ => return Err(format!("unknown command {command:?}: echo, events or idle")),
        };
        let seconds = Duration::from_secs(seconds);
        Ok(Self { command, port, path, connections, seconds })
    }
}

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option}: {value:?} is not a number"))
}
