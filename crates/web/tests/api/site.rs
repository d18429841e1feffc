//! A whole service in this process: testkit's engine on its settable clock, behind the real edge.

use std::time::Duration;

use eventbooker_core::Timestamp;
use eventbooker_core::identity::{Profile, Role};
use eventbooker_engine::{NewUser, Settings};
use eventbooker_testkit::client::{Client, PASSWORD};
use eventbooker_testkit::database::Database;
use eventbooker_testkit::faults::Faults;
use eventbooker_testkit::{Held, Options, Service, outcome};
use eventbooker_web::edge::{self, DrainReport, EdgeConfig};
use eventbooker_web::{Web, WebSettings, application, write_answer};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Alice's number; users are numbered in the order in which they are added.
pub const ALICE_ID: i64 = 2;

/// A service with the users `admin` (an admin), `alice` and `bob`.
pub struct Site {
    runtime: Runtime,
    service: Service,
    base: String,
    stop: watch::Sender<bool>,
    served: JoinHandle<DrainReport>,
}

impl Site {
    /// One without limits on holds.
    pub fn start() -> Self {
        Self::with(Options::default(), WebSettings::default())
    }

    /// One with the limits on holds that an operator gets who sets none.
    pub fn with_hold_limits() -> Self {
        let options = Options { settings: Settings::default(), ..Options::default() };
        Self::with(options, WebSettings::default())
    }

    /// One with settings of its own.
    pub fn with(options: Options, settings: WebSettings) -> Self {
        Self::behind(EdgeConfig::default(), options, settings)
    }

    /// The same, behind an edge with limits of its own.
    pub fn behind(edge: EdgeConfig, options: Options, settings: WebSettings) -> Self {
        let recorder: &'static PrometheusRecorder =
            Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        // One worker: the service's tasks take turns, as `ManualClock::until_asleep` wants.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            // Every site has metrics of its own, though many run in this process.
            .on_thread_start(|| std::mem::forget(metrics::set_default_local_recorder(recorder)))
            .build()
            .expect("a runtime");
        let metrics = recorder.handle();
        let (stop, stopped) = watch::channel(false);
        let (service, listener) = runtime.block_on(async {
            let service = Service::with(Options { write_answer, ..options }).await;
            for (login, role) in
                [("admin", Role::Admin), ("alice", Role::User), ("bob", Role::User)]
            {
                add_user(&service, login, role).await;
            }
            (service, TcpListener::bind("127.0.0.1:0").await.expect("a port"))
        });
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let app = application(Web::new(service.engine().clone(), settings, metrics));
        let served = runtime.spawn(edge::serve(listener, app, edge, stopped));
        Self { runtime, service, base, stop, served }
    }

    /// A client that is not signed in.
    pub fn client(&self) -> Client {
        Client::new(&self.base)
    }

    /// A client with a session of one of the users.
    pub fn client_of(&self, login: &str) -> Client {
        self.client().signed_in(login, PASSWORD)
    }

    /// Clients with sessions of `admin`, `alice` and `bob`.
    pub fn clients(&self) -> [Client; 3] {
        ["admin", "alice", "bob"].map(|login| self.client_of(login))
    }

    /// A look past it.
    pub fn database(&self) -> &Database {
        self.service.database()
    }

    /// What goes wrong in it.
    pub fn faults(&self) -> &Faults {
        &self.service.faults
    }

    /// Stops the next save just before it happens, and what asks for it with it.
    pub fn hold_next_save(&self) -> Held {
        self.faults().hold_next_save()
    }

    /// Waits until a save is held.
    pub fn until_held(&self, held: &mut Held) {
        self.runtime.block_on(held.reached());
    }

    /// What time it is in it.
    pub fn now(&self) -> Timestamp {
        self.service.now()
    }

    /// Lets time pass, and waits until what has fallen due meanwhile is done.
    pub fn pass(&self, span: Duration) {
        self.runtime.block_on(self.service.pass(span));
    }

    /// Stops, and fails if an invariant is broken.
    pub fn finish(self) {
        let (runtime, service) = self.close();
        runtime.block_on(service.finish());
    }

    /// Stops without a look at the rows, which aren't all here.
    pub fn finish_apart(self) {
        let (runtime, service) = self.close();
        runtime.block_on(service.finish_spoilt());
    }

    fn close(self) -> (Runtime, Service) {
        self.stop.send(true).expect("it serves");
        let report = self.runtime.block_on(self.served).expect("the edge ends");
        assert_eq!(report.cut, 0, "connections had to be cut off");
        (self.runtime, self.service)
    }
}

async fn add_user(service: &Service, login: &str, role: Role) {
    let profile = Profile {
        login: login.to_owned(),
        email: format!("{login}@example.org"),
        first_name: "Zoë".to_owned(),
        last_name: "Grün".to_owned(),
    };
    let new = NewUser { profile, role, password: PASSWORD.to_owned() };
    outcome(service.engine().register(new, None).await).expect("a good profile");
}
