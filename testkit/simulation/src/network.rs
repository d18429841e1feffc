//! The network between machines: it carries calls and their answers, whole messages of real HTTP, and
//! loses, delays, repeats and reorders them as the weather is.
//!
//! Absent on purpose: packets. TCP repeats and orders those; what is left for its users to see is a
//! call that does not arrive, whose answer does not, that comes late or, through whatever repeats
//! requests on the way, twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::http::Uri;
use eventbooker_core::Context;
use hyper_util::rt::TokioIo;
use tower::Service;

use crate::chance::Chance;
use crate::diary::Millis;
use crate::host::Host;
use crate::line::{Line, LineEnd, Shut, line};

/// How long whoever is not heard of is tried to be connected to.
const CONNECTED_WITHIN: Duration = Duration::from_millis(500);

/// What the network does to messages in one direction between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weather {
    /// Nothing arrives before this instant.
    pub(crate) cut_until: Millis,
    /// So many of a hundred messages are lost.
    pub(crate) lost_percent: u64,
    /// So many come twice.
    pub(crate) twice_percent: u64,
    /// So many come seconds or minutes late.
    pub(crate) late_percent: u64,
    /// So many answers break off.
    pub(crate) broken_percent: u64,
    /// The longest delay of others.
    pub(crate) delay_max: Millis,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives after these times.
    Arrives(Vec<Millis>),
    /// It does not.
    Lost,
}

/// A direction: from whom to whom.
pub(crate) type Way = (Host, Host);

struct State {
    chance: Chance,
    weather: BTreeMap<Way, Weather>,
    up: BTreeSet<Host>,
    now: Millis,
    connections: BTreeMap<u64, Connection>,
    connections_ever: u64,
}

struct Connection {
    way: Way,
    end: LineEnd,
    /// The call that it waits for.
    awaits: Option<u64>,
}

/// A call that somebody has made.
pub(crate) struct Call {
    pub(crate) connection: u64,
    pub(crate) way: Way,
    pub(crate) message: Vec<u8>,
}

/// What the program has done with its connections.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) calls: Vec<Call>,
    /// Connections that were let go of while a call was on its way.
    pub(crate) given_up: Vec<(Way, u64)>,
}

/// The network, for all who are on it.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

impl Network {
    pub(crate) fn new(chance: Chance) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance,
            weather: BTreeMap::new(),
            up: BTreeSet::new(),
            now: 0,
            connections: BTreeMap::new(),
            connections_ever: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_now(&self, now: Millis) {
        self.state().now = now;
    }

    pub(crate) fn set_up(&self, host: Host, is_up: bool) {
        let mut state = self.state();
        if is_up {
            state.up.insert(host);
        } else {
            state.up.remove(&host);
        }
    }

    /// Changes the weather of a direction.
    pub(crate) fn set_weather(&self, way: Way, change: impl FnOnce(&mut Weather)) {
        change(self.state().weather.entry(way).or_default());
    }

    /// Ends all bad weather.
    pub(crate) fn clear_up(&self) {
        for weather in self.state().weather.values_mut() {
            *weather = Weather { delay_max: 5, ..Weather::default() };
        }
    }

    /// What becomes of a message that sets out now.
    pub(crate) fn fate(&self, way: Way) -> Fate {
        let state = self.state();
        let weather = state.weather.get(&way).copied().unwrap_or_default();
        let chance = &state.chance;
        if weather.cut_until > state.now || chance.percent(weather.lost_percent) {
            return Fate::Lost;
        }
        let copies = if chance.percent(weather.twice_percent) { 2 } else { 1 };
        let delay = |_| {
            if chance.percent(weather.late_percent) {
                // Beyond the life of a token, too.
                return chance.between(1_000, *chance.one_of(&[4_000, 10_000, 25_000, 90_000]));
            }
            chance.between(0, weather.delay_max + 1)
        };
        Fate::Arrives((0..copies).map(delay).collect())
    }

    /// Whether an answer breaks off on its way.
    pub(crate) fn breaks(&self, way: Way) -> bool {
        let state = self.state();
        let weather = state.weather.get(&way).copied().unwrap_or_default();
        state.chance.percent(weather.broken_percent)
    }

    /// Where a piece of so many bytes is to break.
    pub(crate) fn break_at(&self, bytes: usize) -> usize {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        usize::try_from(self.state().chance.between(0, bytes)).unwrap_or(0)
    }

    /// Takes what the program has written.
    pub(crate) fn collect(&self) -> Written {
        let mut state = self.state();
        let mut written = Written::default();
        state.connections.retain(|number, connection| {
            if connection.end.is_let_go() {
                if connection.awaits.is_some() {
                    written.given_up.push((connection.way, *number));
                }
                return false;
            }
            if let Some(message) = connection.end.take_message() {
                written.calls.push(Call { connection: *number, way: connection.way, message });
            }
            true
        });
        written
    }

    /// The connection waits for the answer to this call from now on.
    pub(crate) fn awaits(&self, connection: u64, call: u64) {
        if let Some(connection) = self.state().connections.get_mut(&connection) {
            connection.awaits = Some(call);
        }
    }

    /// Hands over an answer. Whether somebody still waits for it.
    pub(crate) fn answer(
        &self,
        connection: u64,
        call: u64,
        message: &[u8],
        is_whole: bool,
    ) -> bool {
        let mut state = self.state();
        let Some(connection) = state.connections.get_mut(&connection) else { return false };
        if connection.awaits != Some(call) {
            return false;
        }
        connection.awaits = None;
        connection.end.give(message);
        if !is_whole {
            connection.end.shut(Shut::Closed);
        }
        true
    }

    /// Tears a connection. Whether there is one.
    pub(crate) fn tear(&self, connection: u64) -> bool {
        let state = self.state();
        let found = state.connections.get(&connection);
        found.inspect(|connection| connection.end.shut(Shut::Torn)).is_some()
    }

    fn connect(&self, from: Host, service: Context) -> Result<Line, io::ErrorKind> {
        let mut state = self.state();
        // A name leads to those that are there.
        let up: Vec<Host> =
            state.up.iter().filter(|host| host.service == service).copied().collect();
        if up.is_empty() {
            return Err(io::ErrorKind::ConnectionRefused);
        }
        let to = *state.chance.one_of(&up);
        let is_cut = [(from, to), (to, from)]
            .iter()
            .any(|way| state.weather.get(way).is_some_and(|weather| weather.cut_until > state.now));
        if is_cut {
            return Err(io::ErrorKind::TimedOut);
        }
        let (line, end) = line();
        state.connections_ever += 1;
        let number = state.connections_ever;
        state.connections.insert(number, Connection { way: (from, to), end, awaits: None });
        Ok(line)
    }
}

/// Connects a service to others.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) network: Network,
    pub(crate) from: Host,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Line>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Line>>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let to = uri.host().and_then(|host| host.parse::<Context>().ok());
        let connected = match to {
            Some(to) => self.network.connect(self.from, to),
            None => Err(io::ErrorKind::NotFound),
        };
        Box::pin(async move {
            if connected.as_ref().is_err_and(|error| *error == io::ErrorKind::TimedOut) {
                tokio::time::sleep(CONNECTED_WITHIN).await;
            }
            Ok(TokioIo::new(connected?))
        })
    }
}
