//! A demo's example events, which are made when somebody first looks at the list of events and
//! finds nothing in it.
//!
//! They could be made at the start, but then whoever follows a transcript against a fresh demo
//! would find that the first numbers are taken. See `docs/decisions/0010-demo-events.md`.

use std::pin::Pin;
use std::sync::Arc;

use eventbooker_engine::Engine;
use tokio::sync::OnceCell;

/// Makes events for an engine that has none, or says in words why it couldn't.
pub type MakeExamples =
    fn(Engine) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'static>>;

/// The examples, made at most once.
pub(crate) struct Examples {
    make: MakeExamples,
    made: Arc<OnceCell<()>>,
}

impl Examples {
    pub(crate) fn new(make: MakeExamples) -> Self {
        Self { make, made: Arc::default() }
    }

    /// Makes them, unless that was done before; whether there may be something to see now.
    pub(crate) async fn ensure(&self, engine: &Engine) -> bool {
        let (make, made, engine) = (self.make, Arc::clone(&self.made), engine.clone());
        // In a task of its own, so that a client that hangs up leaves no half of them, and nobody
        // begins anew while they are being made.
        let making = async move { made.get_or_try_init(|| make(engine)).await.copied() };
        let made = tokio::spawn(making).await.map_err(|error| error.to_string()).flatten();
        if let Err(reason) = &made {
            tracing::warn!(%reason, "could not make the demo's events");
        }
        made.is_ok()
    }
}
