//! Both sides in one process: a web worker's relay, and the fronts of two processes.

mod hostile;
mod lazy;
mod renewal;
mod trays;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use bytes::Bytes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::broken::Broken;
use super::frames::{Number, Report};
use super::front::Front;
use super::link::{Ends, ProcessLink, WebLink, area, words};
use super::relay::Relay;
use super::to_worker::{Ended, ToWorker};
use crate::bridge::callbacks::Gone;
use crate::bridge::config::{ExecutorId, LocationConfig, ProcessGroup, Role};
use crate::bridge::events::Event;
use crate::bridge::exchange::{Exchange, Progress, Worker};
use crate::bridge::executor::Submitted;
use crate::bridge::fixture::{buffered, location, pool_config, worker_as};
use crate::bridge::id::Table;
use crate::bridge::memory::{Area, Longs};
use crate::bridge::pipe::input::{Input, InputError, Read, Segment};
use crate::bridge::pipe::output::parts::{Batch, Block, End};
use crate::bridge::sync::AtomicU64;
use crate::http::response_head::ResponseHead;

const RING: usize = 64 * 1024;

/// What the client of the tests' applications buffers.
const BUFFER: usize = 64 * 1024;

struct Both {
    web: Arc<Worker>,
    relay: Relay,
    processes: Vec<(Arc<Worker>, Front)>,
    table: Table<()>,
}

fn group() -> ProcessGroup {
    let name = "shop".into();
    ProcessGroup { name, processes: 2, max_queue: 8, ring: RING, wakes_at: None, keep: false }
}

fn site(executor: ExecutorId) -> LocationConfig {
    LocationConfig { id: 7, group: Some(0), buffering: buffered(BUFFER, 0), ..location(executor) }
}

fn link() -> (WebLink, ProcessLink) {
    let (_memory, web, process) = ends();
    (WebLink::of_worker(web), ProcessLink::of_process(process))
}

/// The memory of a link, and its ends.
fn ends() -> (Arc<dyn Longs>, Ends, Ends) {
    let memory: Arc<dyn Longs> =
        Arc::new((0..words(RING)).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
    let bytes = (0..area(RING)).map(|_| AtomicU8::new(0));
    let area: Arc<dyn Area> = Arc::new(bytes.collect::<Vec<_>>());
    let pipe = || pipe_with(PipeFlags::NONBLOCK).unwrap();
    let ((first, rings_first), (second, rings_second)) = (pipe(), pipe());
    let flags = SocketFlags::NONBLOCK;
    let (web, process) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let ends = |own_bell: OwnedFd, other_bell: OwnedFd, socket| Ends {
        memory: Arc::clone(&memory),
        area: Arc::clone(&area),
        ring: RING,
        own_bell,
        other_bell,
        socket,
    };
    let (web, process) = (ends(first, rings_second, web), ends(second, rings_first, process));
    (memory, web, process)
}

impl Both {
    fn new() -> Self {
        Self::of(&group())
    }

    fn of(group: &ProcessGroup) -> Self {
        let web = worker_as(Role::Web, vec![], vec![group.clone()]);
        let relay = Relay::new(&web, 64);
        let mut both = Self { web, relay, processes: Vec::new(), table: Table::new() };
        for slot in 0..2 {
            let role = Role::Application { group: 0, slot };
            let worker = worker_as(role, vec![pool_config(4, 8)], vec![group.clone()]);
            assert!(worker.open_gate(0).is_empty());
            let locations = vec![Arc::new(site(ExecutorId::Pool(0)))];
            let front = Front::new(&worker, locations);
            both.processes.push((worker, front));
            both.connect(slot);
        }
        both.turn();
        both
    }

    fn connect(&mut self, slot: usize) {
        let (web, process) = link();
        self.relay.connect(slot, web);
        self.processes[slot].1.connect(process);
    }

    /// Carries until nothing moves any more.
    fn turn(&mut self) {
        for _ in 0..20 {
            self.turn_web();
            self.turn_processes();
        }
    }

    fn turn_web(&mut self) {
        self.relay.turn();
        let _more = self.relay.flush();
    }

    fn turn_processes(&mut self) {
        for (worker, front) in &mut self.processes {
            let mut events = Vec::new();
            worker.events.take(&mut events);
            for event in events {
                match event {
                    Event::Output(id) => front.output(id),
                    Event::ReadBody(id) => front.wanted(id),
                    Event::Socket(id) => front.socket(id),
                    _ => {}
                }
            }
            front.receive();
            front.send();
            let _more = front.flush();
        }
    }

    fn submit(&mut self, method: &[u8], input: Input) -> Arc<Exchange> {
        let exchange = self.add(method, input);
        self.turn();
        exchange
    }

    fn add(&mut self, method: &[u8], input: Input) -> Arc<Exchange> {
        let id = self.table.insert(());
        let location = Arc::new(site(ExecutorId::Process(0)));
        let mut exchange = Exchange::new(id, location, Arc::clone(&self.web), input);
        let head = &mut Arc::get_mut(&mut exchange).unwrap().head;
        head.method = head.put(method);
        head.path = head.put(b"/path");
        let submitted = self.web.submit(Arc::clone(&exchange)).unwrap();
        assert!(matches!(submitted, Submitted::Queued));
        exchange
    }

    fn get(&mut self) -> Arc<Exchange> {
        self.submit(b"GET", Input::buffered(VecDeque::new()))
    }

    /// The exchanges that a process has.
    fn carried(&self, process: usize) -> Vec<Arc<Exchange>> {
        self.processes[process].1.exchanges().cloned().collect()
    }

    /// The process that has the only request.
    fn only(&self) -> (usize, Arc<Exchange>) {
        let mut all =
            (0..2).flat_map(|at| self.carried(at).into_iter().map(move |exchange| (at, exchange)));
        let only = all.next().unwrap();
        assert!(all.next().is_none());
        only
    }
}

fn head() -> ResponseHead {
    ResponseHead::new(200, b"OK")
}

fn respond(exchange: &Exchange, block: &'static [u8]) {
    let waits = |_: &mut (dyn FnMut() + Send)| panic!("there is room");
    let block = Bytes::from_static(block);
    exchange.push(Some(head()), block, Some(End::Complete), waits).unwrap();
}

/// What nginx takes.
fn taken(exchange: &Exchange) -> Batch {
    let mut batch = Batch::default();
    exchange.output.take(&mut batch);
    batch
}

fn bytes(batch: &Batch) -> Vec<u8> {
    let blocks = batch.blocks.iter().map(|block| match block {
        Block::Memory(bytes) => bytes.to_vec(),
        Block::Tray(tray) => tray.copy(),
        Block::Spilled(_) | Block::File(_) => panic!("{block:?}"),
    });
    blocks.collect::<Vec<_>>().concat()
}

#[test]
fn a_refusal_waits_for_room_in_a_ring_that_is_full() {
    let mut both = Both::of(&ProcessGroup { processes: 1, ..group() });
    let _first = both.get();
    let (_, carried) = both.only();
    assert!(carried.start(7));
    let waits = |_: &mut (dyn FnMut() + Send)| panic!("there is room");
    carried.push(Some(head()), Bytes::from(vec![b'x'; RING]), None, waits).unwrap();
    both.turn_processes();
    let others: Vec<_> = (0..40)
        .map(|_| {
            let exchange = both.add(b"GET", Input::buffered(VecDeque::new()));
            both.turn_web();
            exchange
        })
        .collect();
    both.turn_processes();
    let refused = others.len() + 1 - both.carried(0).len();
    assert!(refused > 0);
    both.turn();
    let is_refused = |exchange: &&Arc<Exchange>| taken(exchange).end == Some(End::Refused);
    assert_eq!(others.iter().filter(is_refused).count(), refused);
}

#[test]
fn a_request_and_its_response_cross() {
    let mut both = Both::new();
    let file = Arc::new(std::fs::File::open("/proc/self/exe").unwrap());
    let segments = [
        Segment::Memory(Bytes::from(vec![b'x'; 100_000])),
        Segment::File { file, start: 0, end: 4 },
    ];
    let web = both.submit(b"POST", Input::buffered(segments.into()));
    let (_, carried) = both.only();
    assert_eq!(carried.head.get(carried.head.method), b"POST");
    assert_eq!(carried.head.get(carried.head.path), b"/path");
    assert_eq!(carried.input.length(), Some(100_004));
    assert_eq!(web.progress(), Progress::Waiting);
    assert!(carried.start(7));
    assert!(matches!(web.progress(), Progress::Running(_)));
    let mut body = Vec::new();
    while let Read::Data(part) = carried.read_waiting(1 << 20, |wait| wait()).unwrap() {
        body.extend_from_slice(&part);
    }
    assert_eq!((body.len(), &body[100_000..]), (100_004, &b"\x7fELF"[..]));
    respond(&carried, b"hello");
    let _due = carried.done();
    both.turn();
    let batch = taken(&web);
    assert_eq!(
        (batch.head.as_ref().map(ResponseHead::code), batch.end),
        (Some(200), Some(End::Complete))
    );
    assert_eq!(bytes(&batch), b"hello");
    assert_eq!((web.progress(), web.last_thread()), (Progress::Done, Some(7)));
    assert!(both.carried(0).is_empty() && both.carried(1).is_empty());
    web.close(InputError::Answered);
    web.over();
    both.turn();
    assert!(both.relay.take_lost().is_empty());
}

#[test]
fn the_process_with_the_fewest_requests_gets_the_next() {
    let mut both = Both::new();
    let _requests: Vec<_> = (0..4).map(|_| both.get()).collect();
    assert_eq!((both.carried(0).len(), both.carried(1).len()), (2, 2));
}

#[test]
fn a_streamed_body_is_bounded_on_its_way() {
    let mut both = Both::new();
    let web = both.submit(b"POST", Input::streamed(false));
    let (_, carried) = both.only();
    assert!(carried.start(7));
    let mut sent = 0;
    // Nobody reads it.
    while web.push_input(Bytes::from(vec![1; 10_000])) && sent < 10_000_000 {
        sent += 10_000;
        web.notify_input();
        both.turn();
    }
    assert!((128 * 1024..1_000_000).contains(&sent), "{sent}");
    let mut received = 0;
    for _ in 0..1000 {
        match carried.try_read(1 << 20, |_| ()).unwrap() {
            Read::Data(part) => received += part.len(),
            Read::Wait => {}
            Read::End => break,
        }
        both.turn();
        if received >= sent {
            web.end_input();
        }
    }
    assert_eq!(received, sent + 10_000);
}

#[test]
fn a_part_that_comes_while_the_pipe_is_full_stops_nothing() {
    let mut both = Both::new();
    let web = both.submit(b"POST", Input::streamed(false));
    let (_, carried) = both.only();
    assert!(carried.start(7));
    let mut received = 0;
    let push = |both: &mut Both, size| {
        let _reads_on = web.push_input(Bytes::from(vec![1; size]));
        web.notify_input();
        both.turn();
    };
    let mut read = |both: &mut Both, size| {
        while let Read::Data(part) = carried.try_read(size, |_| ()).unwrap() {
            received += part.len();
            both.turn();
            if size < 100_000 {
                break;
            }
        }
        received
    };
    push(&mut both, 140_000);
    // The pipe is full, and not yet half empty, when the next part comes.
    for _ in 0..3 {
        assert!(read(&mut both, 10_000) <= 30_000);
    }
    push(&mut both, 5_000);
    for number in 1..10 {
        push(&mut both, 100_000);
        assert_eq!(read(&mut both, 1 << 20), 145_000 + number * 100_000);
    }
}

#[test]
fn a_client_that_takes_nothing_gets_no_more_than_its_window() {
    let mut both = Both::new();
    let slow = both.get();
    let (_, carried) = both.only();
    assert!(carried.start(7));
    let block = Bytes::from(vec![b'x'; 10 << 20]);
    // It is taken as it is, as a large block of a worker's own.
    carried.push(Some(head()), block, Some(End::Complete), |_| panic!("it is lent")).unwrap();
    both.turn();
    let first = bytes(&taken(&slow)).len();
    assert_eq!(first, BUFFER);
    // Others are served meanwhile.
    let other = both.get();
    let all = [both.carried(0), both.carried(1)].concat();
    let its = all.iter().find(|exchange| exchange.progress() == Progress::Waiting).unwrap();
    assert!(its.start(8));
    respond(its, b"other");
    let _due = its.done();
    both.turn();
    assert_eq!(bytes(&taken(&other)), b"other");
    // It takes all of it at last.
    let mut received = first;
    let mut last = first;
    for _ in 0..2000 {
        slow.drained(last, 0, false);
        both.turn();
        let batch = taken(&slow);
        last = bytes(&batch).len();
        assert!(last <= BUFFER);
        received += last;
        if batch.end.is_some() {
            break;
        }
    }
    assert_eq!(received, 10 << 20);
}

#[test]
fn a_client_that_leaves_ends_its_request_in_the_process() {
    let mut both = Both::new();
    let (waits, runs) = (both.get(), both.get());
    let carried = [both.carried(0), both.carried(1)].concat();
    assert!(carried[1].start(7));
    for web in [&waits, &runs] {
        web.set_gone(Gone::Client);
        web.close(InputError::ClientGone);
        web.over();
    }
    both.turn();
    assert!(!carried[0].start(8), "it has expired");
    assert_eq!(carried[1].gone(), Some(Gone::Client));
    assert!(carried[1].output.is_closed());
    assert!(both.carried(0).is_empty() && both.carried(1).is_empty());
}

#[test]
fn the_requests_of_a_process_that_dies() {
    let mut both = Both::new();
    both.relay.ended(1);
    let begun = both.get();
    let (_, carried) = both.only();
    assert!(carried.start(7));
    let (reads, writes) = (both.get(), both.submit(b"POST", Input::buffered(VecDeque::new())));
    both.relay.ended(0);
    both.turn();
    assert_eq!(taken(&begun).end, Some(End::Lost));
    assert_eq!(taken(&writes).end, Some(End::Refused));
    assert_eq!((taken(&reads).end, reads.progress()), (None, Progress::Waiting));
    let lost = both.relay.take_lost();
    both.processes[0].1.ended(0);
    let last = lost.last().unwrap();
    assert_eq!((last.why, last.failed, last.refused, last.tried), (Broken::Ended, 1, 1, 1));
    // The next process of that place gets a link of its own.
    both.connect(0);
    both.turn();
    let again =
        both.carried(0).into_iter().find(|exchange| exchange.progress() == Progress::Waiting);
    assert!(again.unwrap().start(8));
    assert!(matches!(reads.progress(), Progress::Running(_)));
    // It is tried once.
    both.relay.ended(0);
    both.turn();
    assert_eq!(taken(&reads).end, Some(End::Lost));
}

#[test]
fn a_web_worker_that_dies_takes_its_requests_along() {
    let mut both = Both::new();
    let _web = both.get();
    let (process, carried) = both.only();
    assert!(carried.start(7));
    both.processes[process].1.ended(0);
    assert_eq!(carried.gone(), Some(Gone::Client));
    let lost = both.processes[process].1.take_lost();
    assert_eq!((lost.len(), lost[0].requests), (1, 1));
    assert!(!both.processes[process].1.is_busy());
}

#[test]
fn a_process_that_is_replaced_answers_what_is_on_its_way() {
    let mut both = Both::new();
    let before = both.get();
    let (process, carried) = both.only();
    both.processes[process].1.leave();
    both.turn();
    // The next one goes elsewhere.
    let _after = both.get();
    assert_eq!((both.carried(process).len(), both.carried(1 - process).len()), (1, 1));
    assert!(both.processes[process].1.is_busy());
    assert!(carried.start(7));
    respond(&carried, b"last");
    let _due = carried.done();
    both.turn();
    assert_eq!(bytes(&taken(&before)), b"last");
    assert!(!both.processes[process].1.is_busy());
}

#[test]
fn a_deadline_is_confirmed_by_the_process() {
    let mut both = Both::new();
    let web = both.get();
    let (_, carried) = both.only();
    assert!(carried.start(7));
    assert!(!web.confirm_deadline(), "it is asked first");
    both.turn();
    assert!(web.confirm_deadline());
    let Progress::Running(elapsed) = web.progress() else { panic!("it runs") };
    assert!(elapsed < 10_000);
    let lifted = both.get();
    let all = [both.carried(0), both.carried(1)].concat();
    let its = all.iter().find(|exchange| exchange.progress() == Progress::Waiting).unwrap();
    assert!(its.start(8));
    its.lift_deadline();
    assert!(!lifted.confirm_deadline());
    both.turn();
    assert_eq!(lifted.progress(), Progress::Running(0));
}
