//! `eventbooker serve`: wires everything together, and takes it apart again in the right order.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::{Context, UserId};
use eventbooker_engine::Engine;
use eventbooker_store::{Access, Store};
use eventbooker_web::edge::DrainReport;
use eventbooker_web::{Extras, Web, application, edge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::apart::{self, Listening, Ties};
use crate::otlp::Spans;
use crate::settings::{ServeFlags, ServeSettings};
use crate::{demo, log, open, open_files};

/// How often samples are folded into their histograms; between two folds they take memory.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// Buckets of durations, in seconds.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
/// Buckets of counts of commands.
const COMMANDS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// A lane has a connection to a shared database, and a runtime that waits for it.
const FILES_PER_LANE: usize = 4;

/// The service promises to be gone within 10 s of SIGTERM.
const STOP_MAX: Duration = Duration::from_millis(9500);

pub(crate) async fn run(flags: ServeFlags) -> Result<(), String> {
    let settings = flags.resolve()?;
    let sent_to = |collector: &str| Spans::sent_to(collector, settings.services);
    let spans = settings.otlp_endpoint.as_deref().map(sent_to).transpose()?;
    log::begin(&settings, spans.as_ref())?;
    let mut signals = Signals::listen()?;
    let started = tokio::select! {
        started = Service::start(settings, spans) => started?,
        name = signals.first() => {
            // Nothing was promised to anybody yet. A migration that is under way ends with the
            // process, and the next start finds the database as it was before.
            tracing::info!("{name}: stopped before the start was complete");
            return Ok(());
        }
    };
    started.serve(signals).await
}

/// The service at work.
struct Service {
    engine: Engine,
    edge: JoinHandle<DrainReport>,
    /// Where the other services ask, if there are any.
    listening: Option<Listening>,
    shut: watch::Sender<bool>,
    spans: Option<Spans>,
}

impl Service {
    async fn start(mut settings: ServeSettings, spans: Option<Spans>) -> Result<Self, String> {
        fit_to_open_files(&mut settings);
        let metrics = install_metrics()?;
        // The address first: if it is taken, nothing else need be touched.
        let listener = edge::listen(settings.listen)
            .map_err(|error| format!("listen: can't listen on {}: {error}", settings.listen))?;
        let address = listener.local_addr().map_err(|error| format!("listen: {error}"))?;
        let services = settings.services;
        let ties = match &settings.apart {
            Some(apart) => Some(Ties::make(apart, services)?),
            None => None,
        };
        let database = settings.database;
        tracing::info!("opening {}", database.name());
        let connections = settings.database_connections;
        let store = database.open(Access::Serve, Some(services), connections).await?;
        // Before anybody else asks: what may not be read is told once.
        let is_new = services.has(Context::Identity) && has_no_users(&*store).await?;
        let neighbours = ties.as_ref().map(|ties| ties.neighbours.clone()).unwrap_or_default();
        let engine = open::engine_among(neighbours, store, settings.engine).await?;
        let is_demo = settings.demo && demo::fill(&engine).await?;
        if settings.demo && !is_demo {
            tracing::warn!(
                "demo: the database has users of its own, so it is given neither users nor events; \
                 everybody may pay in"
            );
        }
        welcome(database.name(), is_demo, is_new);

        let mut extras = Extras {
            tokens: ties.as_ref().map(|ties| Arc::clone(&ties.tokens)),
            ..Extras::default()
        };
        if is_demo {
            settings.web.demo_users = &demo::USERS;
            extras.examples = Some(demo::make_events);
        }
        let web = Web::of(engine.clone(), settings.web, metrics, extras);
        let (shut, shutdown) = watch::channel(false);
        let listening = match ties {
            Some(ties) => Some(ties.listen(&engine, &settings.edge, shutdown.clone()).await?),
            None => None,
        };
        let edge = tokio::spawn(edge::serve(listener, application(web), settings.edge, shutdown));
        tracing::info!("listening on http://{address}");
        Ok(Self { engine, edge, listening, shut, spans })
    }

    /// Serves until a signal, or until the edge fails; then takes everything apart.
    async fn serve(mut self, mut signals: Signals) -> Result<(), String> {
        let told = told_to_stop(
            &mut self.edge,
            self.listening.as_mut().map(|listening| &mut listening.edge),
            signals.first(),
        )
        .await;
        let gone_by = Instant::now() + STOP_MAX;
        match &told {
            Ok(name) => tracing::info!("{name}: finishing what has been accepted"),
            Err(reason) => tracing::error!("{reason}"),
        }
        tokio::spawn(async move {
            signals.first().await;
            tracing::warn!("stopped a second time: ending at once");
            std::process::exit(1);
        });
        let stopped = ended_by(gone_by, self.stop()).await;
        told?;
        stopped.inspect_err(|reason| tracing::error!("{reason}"))?;
        tracing::info!("stopped");
        Ok(())
    }

    async fn stop(self) {
        self.engine.drain();
        let _ = self.shut.send(true);
        if !self.edge.is_finished()
            && let Ok(report) = self.edge.await
            && report.cut > 0
        {
            tracing::warn!(connections = report.cut, "cut off connections that would not end");
        }
        if let Some(listening) = self.listening {
            listening.stop().await;
        }
        self.engine.stop().await;
        if let Some(spans) = self.spans {
            spans.end().await;
        }
    }
}

/// Waits for a signal. An edge that ends before, the public one or that for the other services, is an
/// error: without it the process would go on and nobody would listen.
async fn told_to_stop<R>(
    edge: &mut JoinHandle<R>,
    internal: Option<&mut JoinHandle<R>>,
    signal: impl Future<Output = &'static str>,
) -> Result<&'static str, String> {
    let internal = async {
        match internal {
            Some(internal) => internal.await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        name = signal => return Ok(name),
        ended = edge => ended,
        ended = internal => ended,
    };
    Err(match ended {
        Ok(_) => "an edge has ended by itself".to_owned(),
        Err(error) => format!("an edge has ended: {error}"),
    })
}

/// Waits until `stop` has ended, but no longer than that. It runs in a task of its own, because a
/// disk that hangs may block the thread, where no time-out is noticed.
async fn ended_by(
    gone_by: Instant,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    match timeout_at(gone_by, tokio::spawn(stop)).await {
        Ok(ended) => ended.map_err(|error| format!("stopping has failed: {error}")),
        Err(_) => Err("stopping takes too long: ending with work undone".to_owned()),
    }
}

/// Keeps connections from using up the files that the process may open.
fn fit_to_open_files(settings: &mut ServeSettings) {
    let files_max = open_files::raise_limit();
    let wanted = settings.edge.connections_max;
    let for_database = if settings.database.is_shared() {
        settings.database_connections + FILES_PER_LANE * settings.engine.lanes
    } else {
        0
    };
    let for_neighbours = settings.apart.as_ref().map_or(0, |_| apart::FILES);
    let possible = open_files::connections_within(files_max, for_database + for_neighbours);
    if possible < wanted {
        tracing::warn!(
            "the process may open {} files, which leaves {possible} for connections instead of \
             {wanted}; raise the limit (ulimit -n) or lower connections_max",
            files_max.unwrap_or(u64::MAX)
        );
        settings.limit_connections(possible);
    }
}

fn install_metrics() -> Result<PrometheusHandle, String> {
    let words = |error| format!("can't set up metrics: {error}");
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), &COMMANDS)
        })
        .map_err(words)?
        .install_recorder()
        .map_err(words)?;
    let folding = handle.clone();
    metrics::describe_gauge!("eventbooker_memory_bytes", "Memory that the process has");
    let memory = metrics::gauge!("eventbooker_memory_bytes");
    memory.set(memory_bytes());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FOLD_EVERY).await;
            folding.run_upkeep();
            memory.set(memory_bytes());
        }
    });
    Ok(handle)
}

/// The memory that the process has; not a number where the system doesn't say it as Linux does.
fn memory_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.map_or(f64::NAN, |kibibytes: f64| kibibytes * 1024.0)
}

/// Tells a newcomer how to begin.
async fn has_no_users(store: &dyn Store) -> Result<bool, String> {
    let users = store.users(UserId::new(0), 1).await.map_err(|error| error.to_string())?;
    Ok(users.is_empty())
}

fn welcome(database: &str, is_demo: bool, is_new: bool) {
    if is_demo {
        tracing::info!("demo: sign in as admin or user, both with the password `password`");
    } else if is_new {
        tracing::info!(
            "there are no users yet; add an admin: eventbooker user add NAME --role admin --database {database}"
        );
    }
}

/// The signals that end the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, String> {
        let listen =
            |kind| signal(kind).map_err(|error| format!("can't listen for signals: {error}"));
        // Writing beyond a limit on the size of files is then an error that the store reports; by
        // default it would kill the process.
        let file_size_exceeded = SignalKind::from_raw(SIGXFSZ);
        drop(listen(file_size_exceeded)?);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The same number on every architecture that Linux runs on, but for MIPS.
const SIGXFSZ: i32 = 25;

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_edge_that_ends_by_itself_is_an_error() {
        let mut bug = tokio::spawn(async { panic!("a bug, for a test") });
        let told = told_to_stop::<()>(&mut bug, None, pending()).await;
        assert!(told.is_err_and(|reason| reason.contains("panicked")));
        let mut quiet = tokio::spawn(ready(()));
        assert!(told_to_stop(&mut quiet, None, pending()).await.is_err());
        let [mut serving, mut internal] = [(); 2].map(|()| tokio::spawn(pending::<()>()));
        let told = told_to_stop(&mut serving, Some(&mut internal), ready("SIGTERM")).await;
        assert_eq!(told, Ok("SIGTERM"));
        internal.abort();
        assert!(told_to_stop(&mut serving, Some(&mut internal), pending()).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stopping_has_an_end_even_if_it_blocks() {
        let (unblock, blocked) = mpsc::channel::<()>();
        let hanging = async move {
            let _ = blocked.recv();
        };
        assert!(ended_by(Instant::now(), hanging).await.is_err());
        drop(unblock);
        let long = Instant::now() + Duration::from_secs(3600);
        assert_eq!(ended_by(long, ready(())).await, Ok(()));
        assert!(ended_by(long, async { panic!("a bug, for a test") }).await.is_err());
    }
}
