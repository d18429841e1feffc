//! `eventbooker serve`: wires everything together, and takes it apart again in the right order.

use std::io::IsTerminal as _;
use std::time::Duration;

use eventbooker_core::UserId;
use eventbooker_engine::Engine;
use eventbooker_store::sqlite::Access;
use eventbooker_web::{Web, application, edge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::settings::{ServeFlags, ServeSettings};
use crate::{demo, open};

/// How often samples are folded into their histograms; between two folds they take memory.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// Buckets of durations, in seconds.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
/// Buckets of counts of commands.
const COMMANDS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

pub(crate) async fn run(flags: ServeFlags) -> Result<(), String> {
    let settings = flags.resolve()?;
    log_to_stderr(&settings)?;
    let mut signals = Signals::listen()?;
    let metrics = install_metrics()?;

    // The address first: if it is taken, nothing else need be touched.
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| format!("listen: can't listen on {}: {error}", settings.listen))?;
    let address = listener.local_addr().map_err(|error| format!("listen: {error}"))?;
    let store = open::store(&settings.database, Access::Serve)?;
    let engine = open::engine(store, settings.engine).await?;
    if settings.demo {
        demo::fill(&engine).await?;
    }
    welcome(&engine, &settings.database, settings.demo).await?;

    let web = Web::new(engine.clone(), settings.web, metrics);
    let (shut, shutdown) = watch::channel(false);
    let serving = tokio::spawn(edge::serve(listener, application(web), settings.edge, shutdown));
    tracing::info!("listening on http://{address}");

    let name = signals.first().await;
    tracing::info!("{name}: finishing what has been accepted");
    tokio::spawn(async move {
        signals.first().await;
        tracing::warn!("stopped a second time: ending at once");
        std::process::exit(1);
    });
    engine.drain();
    let _ = shut.send(true);
    if let Ok(report) = serving.await
        && report.cut > 0
    {
        tracing::warn!(connections = report.cut, "cut off connections that would not end");
    }
    engine.stop().await;
    tracing::info!("stopped");
    Ok(())
}

fn log_to_stderr(settings: &ServeSettings) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| format!("log: {error}"))?;
    // Colours are for people; a journal or a file would keep their escape codes.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    if settings.log_json {
        lines.json().init();
    } else {
        lines.init();
    }
    Ok(())
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
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FOLD_EVERY).await;
            folding.run_upkeep();
        }
    });
    Ok(handle)
}

/// Tells a newcomer how to begin.
async fn welcome(engine: &Engine, database: &str, demo: bool) -> Result<(), String> {
    if demo {
        tracing::info!("demo: sign in as admin or user, both with the password `password`");
    }
    let users = engine.store().users(UserId::new(0), 1).await;
    if users.map_err(|error| error.to_string())?.is_empty() {
        tracing::info!(
            "there are no users yet; add an admin: eventbooker user add NAME --role admin --database {database}"
        );
    }
    Ok(())
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
