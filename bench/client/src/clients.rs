//! The connections of a run, driven by one thread with epoll.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::time::Timespec;

use crate::figures::{Figures, used};

/// What the connections of a run talk.
pub(crate) trait Kind {
    /// Of one connection.
    type State: Default;

    fn request(&self) -> String;

    /// Checks the head of the response, which ends with an empty line.
    fn opened(&self, head: &str) -> Result<(), String>;

    /// Called for each connection when measuring begins.
    fn begin(&self, state: &mut Self::State, wire: &mut Wire) -> io::Result<()>;

    /// Called with what has arrived after the head. `figures` is there while measuring.
    fn received(
        &self,
        state: &mut Self::State,
        data: &[u8],
        wire: &mut Wire,
        figures: Option<&mut Figures>,
    ) -> Result<(), String>;
}

pub(crate) struct Clients<'kind, K: Kind> {
    kind: &'kind K,
    epoll: OwnedFd,
    clients: Vec<Client<K::State>>,
    /// How many have the head of their response.
    open: usize,
    block: Vec<u8>,
    ready: Vec<Event>,
}

struct Client<State> {
    wire: Wire,
    /// The head of the response, until it is complete.
    head: Option<Vec<u8>>,
    state: State,
    /// Whether epoll also waits until it can be written.
    writing: bool,
}

/// The sending half of a connection.
pub(crate) struct Wire {
    stream: TcpStream,
    /// What the kernel has not taken yet.
    rest: Vec<u8>,
}

impl<'kind, K: Kind> Clients<'kind, K> {
    pub(crate) fn open(kind: &'kind K, port: u16, number: usize) -> Result<Self, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| e.to_string())?;
        epoll::add(&epoll, io::stdin(), STDIN, EventFlags::IN).map_err(|e| e.to_string())?;
        let mut all = Self {
            kind,
            epoll,
            clients: Vec::with_capacity(number),
            open: 0,
            block: vec![0; 256 * 1024],
            ready: Vec::with_capacity(1024),
        };
        let begin = Instant::now();
        while all.open < number {
            if all.clients.len() < number && all.clients.len() - all.open < AT_ONCE {
                all.connect(port).map_err(|error| {
                    format!("connection {} of {number}: {error}", all.clients.len() + 1)
                })?;
            } else {
                all.turn(Duration::from_millis(100), &mut None)?;
            }
            if begin.elapsed() > OPENING {
                return Err(format!("only {} of {number} connections are open", all.open));
            }
        }
        Ok(all)
    }

    /// Waits for a line on standard input; false if it has ended.
    pub(crate) fn wait_for_line(&mut self) -> Result<bool, String> {
        while !self.turn(Duration::from_secs(1), &mut None)? {}
        let mut line = String::new();
        let size = io::stdin().read_line(&mut line).map_err(|e| e.to_string())?;
        Ok(size > 0)
    }

    /// Measures for that long, and returns the line with the figures.
    pub(crate) fn measure(&mut self, time: Duration) -> Result<String, String> {
        let (begin, used_before) = (Instant::now(), used());
        let mut figures = Some(Figures::default());
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            self.kind.begin(&mut client.state, &mut client.wire).map_err(|e| e.to_string())?;
            self.watch(index)?;
        }
        while let Some(left) = time.checked_sub(begin.elapsed()) {
            self.turn(left, &mut figures)?;
        }
        let (elapsed, used) = (begin.elapsed(), used() - used_before);
        Ok(figures.unwrap_or_default().line(elapsed, used))
    }

    fn connect(&mut self, port: u16) -> io::Result<()> {
        // Blocking: on this machine, the kernel accepts at once.
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = EventData::new_u64(self.clients.len() as u64);
        epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
        let mut wire = Wire { stream, rest: Vec::new() };
        wire.send(self.kind.request().as_bytes())?;
        let (head, state) = (Some(Vec::new()), K::State::default());
        self.clients.push(Client { wire, head, state, writing: false });
        Ok(())
    }

    /// Waits for events and handles them; true if standard input has something.
    fn turn(&mut self, wait: Duration, figures: &mut Option<Figures>) -> Result<bool, String> {
        let wait =
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        let mut has_line = false;
        for number in 0..self.ready.len() {
            let event = self.ready[number];
            if event.data.u64() == STDIN.u64() {
                has_line = true;
                continue;
            }
            let index = event.data.u64() as usize;
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) {
                self.clients[index].wire.send(&[]).map_err(|e| e.to_string())?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.read(index, figures.as_mut())?;
            }
            self.watch(index)?;
        }
        Ok(has_line)
    }

    fn read(&mut self, index: usize, figures: Option<&mut Figures>) -> Result<(), String> {
        let client = &mut self.clients[index];
        let size = match client.wire.stream.read(&mut self.block) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(size) => size,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let mut data = &self.block[..size];
        if let Some(head) = &mut client.head {
            let before = head.len();
            head.extend(data);
            let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return Ok(());
            };
            data = &data[end + 4 - before..];
            self.kind.opened(&String::from_utf8_lossy(&head[..end + 4]))?;
            client.head = None;
            self.open += 1;
        }
        self.kind.received(&mut client.state, data, &mut client.wire, figures)
    }

    /// Has epoll wait until a connection can be written, as long as it has something to send.
    fn watch(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        let writing = !client.wire.rest.is_empty();
        if writing != client.writing {
            client.writing = writing;
            let flags = if writing { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &client.wire.stream, data, flags)
                .map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

impl Wire {
    /// Sends, or keeps what the kernel does not take.
    pub(crate) fn send(&mut self, mut data: &[u8]) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        let kept = self.write(&rest)?;
        if kept.is_empty() {
            data = self.write(data)?;
        }
        self.rest = [kept, data].concat();
        Ok(())
    }

    /// Returns what the kernel has not taken.
    fn write<'a>(&mut self, mut data: &'a [u8]) -> io::Result<&'a [u8]> {
        while !data.is_empty() {
            match self.stream.write(data) {
                Ok(size) => data = &data[size..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(data)
    }
}

const STDIN: EventData = EventData::new_u64(u64::MAX);
/// Connections whose response has not begun: less than the shortest backlog of a server.
const AT_ONCE: usize = 100;
const OPENING: Duration = Duration::from_secs(120);
