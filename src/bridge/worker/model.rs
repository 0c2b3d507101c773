use loom::thread;

use super::*;
use crate::bridge::exchange::Exchange;
use crate::bridge::fixture::{check, exchanges, worker};

#[test]
fn a_request_that_comes_as_the_interpreter_fails_is_answered() {
    check(3, || {
        let worker = worker(1, 9);
        let exchanges = exchanges::<2>(&worker);
        let main = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || worker.set_broken())
        };
        // Refused here, or given back there: each by one of them alone.
        let mut refused: Vec<Arc<Exchange>> = exchanges
            .iter()
            .filter(|exchange| worker.submit(Arc::clone(exchange)).is_err())
            .cloned()
            .collect();
        let mut answered = main.join().unwrap();
        answered.append(&mut refused);
        let ids = |exchanges: &[Arc<Exchange>]| {
            exchanges.iter().map(|exchange| exchange.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&answered), ids(&exchanges));
    });
}

#[test]
fn a_request_that_comes_as_its_application_does_reaches_the_pool() {
    check(3, || {
        let worker = worker(2, 0);
        let exchanges = exchanges::<2>(&worker);
        let main = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || worker.open_gate(0))
        };
        for exchange in &exchanges {
            worker.submit(Arc::clone(exchange)).unwrap();
        }
        assert!(main.join().unwrap().is_empty());
        assert_eq!(worker.pools.iter().flat_map(|pool| pool.close()).count(), 2);
    });
}
