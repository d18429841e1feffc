//! Panics in a run. Tasks that panic end quietly, and so would whatever they were for.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static SEEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Does something, and brings what has panicked meanwhile in this thread. If that was the thing itself,
/// there is nothing else to bring.
pub(crate) fn watched<T>(work: impl FnOnce() -> T) -> (Result<T, ()>, Vec<String>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let is_seen = SEEN.with_borrow_mut(|seen| {
                seen.as_mut().map(|seen| seen.push(panic.to_string())).is_some()
            });
            if !is_seen {
                usual(panic);
            }
        }));
    });
    SEEN.set(Some(Vec::new()));
    let done = panic::catch_unwind(AssertUnwindSafe(work)).map_err(drop);
    (done, SEEN.take().unwrap_or_default())
}
