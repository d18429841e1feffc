//! The yardstick: the service's own HTTP edge around handlers that do nothing.
//!
//! It runs as a process of its own, with the runtime and the edge's limits of the real one, and
//! answers with as many bytes. What it reaches is what this machine's HTTP stack allows; the
//! difference to it is what the service adds.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use eventbooker_web::edge::{self, EdgeConfig};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Fallible;
use crate::children::Child;
use crate::http::Client;
use crate::server::free_address;

/// An event as the service shows one.
const EVENT: &str = r#"{"id":1000,"name":"An evening of chamber music 1000","description":"","date":"2027-03-01T19:30:00Z","capacity":1000000000,"freeSeats":1000000000,"price":0,"paymentTTL":43200,"pendingBookings":0,"confirmedBookings":0}"#;

#[derive(Deserialize)]
struct Asked {
    seats: u32,
}

/// A booking as the service shows one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Booking {
    status: &'static str,
    id: i64,
    event_id: i64,
    user_id: i64,
    seats: u32,
    amount: i64,
    paid: bool,
    created_at: &'static str,
    expires_at: &'static str,
    expires_in_seconds: u64,
}

async fn book(Path(event_id): Path<i64>, Json(asked): Json<Asked>) -> impl IntoResponse {
    let booking = Booking {
        status: "pending",
        id: 100_000,
        event_id,
        user_id: 100,
        seats: asked.seats,
        amount: 0,
        paid: false,
        created_at: "2026-12-01T10:00:00.123456Z",
        expires_at: "2026-12-31T10:00:00.123456Z",
        expires_in_seconds: 2_592_000,
    };
    let location = format!("/events/{event_id}/bookings");
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(booking))
}

#[derive(Deserialize)]
struct Wanted {
    event_id: i64,
}

/// A booking as the service shows one in short.
#[derive(Serialize)]
struct Purchase {
    id: i64,
    user_id: i64,
    event_id: i64,
    price: i64,
    status: i8,
}

async fn purchase(Json(wanted): Json<Wanted>) -> impl IntoResponse {
    let Wanted { event_id } = wanted;
    Json(Purchase { id: 100_000, user_id: 100, event_id, price: 2500, status: 4 })
}

async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], EVENT)
}

/// Serves until the process is killed.
pub(crate) fn serve(listen: SocketAddr) -> Fallible<()> {
    // Like the service's own runtime, one thread for each core.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("can't start: {error}"))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| format!("can't listen on {listen}: {error}"))?;
        let app = Router::new()
            .route("/echo/{id}", post(book))
            .route("/echo/create", post(purchase))
            .route("/echo", get(show));
        let (_shut, shutdown) = watch::channel(false);
        edge::serve(listener, app, EdgeConfig::default(), shutdown).await;
        Ok(())
    })
}

/// The yardstick, running.
pub(crate) struct Echo {
    _child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Echo {
    /// Starts this program again, as the yardstick.
    pub(crate) fn start(dir: &std::path::Path) -> Fallible<Self> {
        let address = free_address()?;
        let program =
            std::env::current_exe().map_err(|error| format!("can't find this program: {error}"))?;
        let mut command = Command::new(program);
        command.args(["echo", "--listen", &address.to_string()]).stdout(Stdio::null());
        let child = Child::spawn(command, &dir.join("echo.log"))?;
        let client = Client::new(address);
        let started = Instant::now();
        while !client.get("/echo").is_ok_and(|answer| answer.status == 200) {
            if started.elapsed() > Duration::from_secs(10) || child.ended()?.is_some() {
                return Err(child.told("the yardstick does not start"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { _child: child, address })
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }
}
