//! Panics of this module: what each said, and where, for the line of log of whoever catches it.
//!
//! A panic becomes one line of log at `alert`. The hook runs on the panicking thread, possibly with a lock held,
//! so it only keeps the text; the guard that catches the panic logs it, with the request that it knows.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

thread_local! {
    /// What this thread's last panic said, until it is logged.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The longest text of a panic in bytes: it becomes one line of log.
const LONGEST: usize = 1024;

/// A panic that was caught.
#[derive(Debug)]
pub(crate) struct Panicked {
    what: String,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pywsgi panicked at {}", self.what)
    }
}

/// Keeps what panics say from now on, in the whole process, for [`catch`] and [`take`].
pub(crate) fn watch() {
    std::panic::set_hook(Box::new(|info| {
        let text = describe(info);
        // If the thread is about to end, it has none any more.
        let _kept = SAID.try_with(|said| {
            if let Ok(mut said) = said.try_borrow_mut() {
                *said = Some(text);
            }
        });
    }));
}

/// Runs `act`; a panic of it ends here.
pub(crate) fn catch<T>(act: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|payload| {
        take()
            .unwrap_or_else(|| Panicked { what: format!("an unknown place: {}", text(&*payload)) })
    })
}

/// What a panic of this thread said that was caught elsewhere: PyO3 makes a Python exception of one that it catches.
pub(crate) fn take() -> Option<Panicked> {
    let what = SAID.try_with(|said| said.try_borrow_mut().ok()?.take()).ok()??;
    Some(Panicked { what })
}

/// Does `act` with each item, including those behind one at which it panics.
pub(crate) fn for_each<T>(
    mut items: impl Iterator<Item = T>,
    mut act: impl FnMut(T),
    mut on_panic: impl FnMut(Panicked),
) {
    while let Err(panicked) = catch(|| items.by_ref().for_each(&mut act)) {
        on_panic(panicked);
    }
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let mut what = match info.location() {
        Some(place) => format!("{place}: {}", text(info.payload())),
        None => format!("an unknown place: {}", text(info.payload())),
    };
    let end = (0..=LONGEST.min(what.len())).rev().find(|at| what.is_char_boundary(*at));
    what.truncate(end.unwrap_or(0));
    // One line, whatever it holds.
    what.replace(char::is_control, " ")
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_its_message_and_its_place() {
        watch();
        let line = line!() + 1;
        let panicked = catch(|| panic!("token {}\nnext line", 7)).unwrap_err();
        let said = panicked.to_string();
        assert!(said.starts_with(&format!("pywsgi panicked at {}:{line}:", file!())), "{said}");
        assert!(said.ends_with(": token 7 next line"), "{said}");
        assert!(take().is_none(), "it is said once");
        assert_eq!(catch(|| 3).unwrap(), 3);
    }

    #[test]
    fn a_panic_that_another_has_caught_is_kept() {
        watch();
        assert!(catch_unwind(|| panic!("elsewhere")).is_err());
        assert!(take().is_some_and(|panicked| panicked.to_string().ends_with(": elsewhere")));
        // resume_unwind runs no hook, and what is resumed was said before.
        assert!(catch_unwind(|| panic!("first")).is_err());
        let panicked = catch(|| std::panic::resume_unwind(Box::new("again"))).unwrap_err();
        assert!(panicked.to_string().ends_with(": first"));
        let unknown = catch(|| std::panic::resume_unwind(Box::new(7))).unwrap_err();
        assert_eq!(unknown.to_string(), "pywsgi panicked at an unknown place: (no message)");
    }

    #[test]
    fn a_long_text_is_cut() {
        watch();
        let panicked = catch(|| panic!("{}", "\u{e9}".repeat(LONGEST))).unwrap_err();
        assert!((LONGEST - 1..=LONGEST).contains(&panicked.what.len()));
    }

    #[test]
    fn the_items_behind_a_panic_are_dealt_with() {
        watch();
        let mut items: Vec<u32> = (0..10).collect();
        let (mut done, mut said) = (Vec::new(), Vec::new());
        for_each(
            items.drain(..),
            |item| {
                assert!(item % 4 != 1, "item {item}");
                done.push(item);
            },
            |panicked| said.push(panicked.to_string()),
        );
        assert_eq!(done, [0, 2, 3, 4, 6, 7, 8]);
        assert_eq!(said.len(), 3);
        assert!(said[2].ends_with("item 9"), "{said:?}");
        assert!(items.is_empty());
    }
}
