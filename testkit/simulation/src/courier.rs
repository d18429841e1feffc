//! The courier: takes calls from the network to machines and answers back, each when it is due.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::diary::{Diary, Millis, note};
use crate::host::Host;
use crate::line::{LineEnd, Shut, line};
use crate::machine::Machine;
use crate::network::{Call, Fate, Network, Way};

/// Something on its way.
enum Parcel {
    /// A call.
    Call { call: u64, connection: u64, way: Way, message: Vec<u8> },
    /// The answer to one.
    Answer { call: u64, connection: u64, way: Way, message: Vec<u8>, is_whole: bool },
    /// Word that a connection is torn.
    Tear { connection: u64 },
    /// Word that whoever called has hung up.
    HangUp { connection: u64 },
}

/// A call that a machine is at.
struct Served {
    call: u64,
    connection: u64,
    way: Way,
    end: LineEnd,
}

/// Whatever is on its way.
pub(crate) struct Courier {
    network: Network,
    /// By when it is due, and in the order in which it set out.
    parcels: BTreeMap<(Millis, u64), Parcel>,
    parcels_ever: u64,
    calls_ever: u64,
    served: Vec<Served>,
}

impl Courier {
    pub(crate) fn new(network: Network) -> Self {
        Self {
            network,
            parcels: BTreeMap::new(),
            parcels_ever: 0,
            calls_ever: 0,
            served: Vec::new(),
        }
    }

    /// When the next parcel is due.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.parcels.keys().next().map(|(due, _)| *due)
    }

    /// Whether a machine is at a call.
    pub(crate) fn is_busy(&self) -> bool {
        !self.served.is_empty()
    }

    fn send(&mut self, due: Millis, parcel: Parcel) {
        self.parcels_ever += 1;
        self.parcels.insert((due, self.parcels_ever), parcel);
    }

    /// Takes what services have written, and decides on its fate.
    pub(crate) fn collect(&mut self, now: Millis, diary: &mut Diary) {
        let network = self.network.clone();
        let written = network.collect();
        for (way, connection) in written.given_up {
            // Word of it is lost as anything else is.
            if let Fate::Arrives(after) = network.fate(way) {
                self.send(now + after[0], Parcel::HangUp { connection });
            }
        }
        for Call { connection, way, message } in written.calls {
            self.calls_ever += 1;
            let call = self.calls_ever;
            network.awaits(connection, call);
            let fate = network.fate(way);
            let what = in_short(&message);
            let (from, to) = way;
            match fate {
                Fate::Lost => note!(diary, now, "call {call} {from} → {to} is lost: {what}"),
                Fate::Arrives(after) => {
                    note!(diary, now, "call {call} {from} → {to}, there in {after:?} ms: {what}");
                    for after in after {
                        let message = message.clone();
                        self.send(now + after, Parcel::Call { call, connection, way, message });
                    }
                }
            }
        }
        let mut served = std::mem::take(&mut self.served);
        served.retain(|served| {
            if let Some(message) = served.end.take_message() {
                self.answer(served, message, now, diary);
                served.end.shut(Shut::Closed);
                return false;
            }
            // Who serves it has crashed, or has let go of it.
            !served.end.is_let_go()
        });
        self.served = served;
    }

    fn answer(&mut self, served: &Served, mut message: Vec<u8>, now: Millis, diary: &mut Diary) {
        let Served { call, connection, way, .. } = *served;
        let (caller, server) = way;
        let back = (server, caller);
        let what = in_short(&message);
        match self.network.fate(back) {
            Fate::Lost => note!(diary, now, "answer {call} {server} → {caller} is lost: {what}"),
            Fate::Arrives(after) => {
                let is_whole = !self.network.breaks(back);
                if !is_whole {
                    message.truncate(self.network.break_at(message.len()));
                }
                let broken = if is_whole { "" } else { ", broken" };
                note!(
                    diary,
                    now,
                    "answer {call} {server} → {caller}, there in {} ms{broken}: {what}",
                    after[0]
                );
                let parcel = Parcel::Answer { call, connection, way: back, message, is_whole };
                self.send(now + after[0], parcel);
            }
        }
    }

    /// Hands over what is due.
    pub(crate) fn deliver(
        &mut self,
        now: Millis,
        machines: &BTreeMap<Host, Machine>,
        diary: &mut Diary,
    ) {
        while let Some(entry) = self.parcels.first_entry() {
            if entry.key().0 > now {
                return;
            }
            match entry.remove() {
                Parcel::Call { call, connection, way, message } => {
                    let machine = &machines[&way.1];
                    if !machine.is_running() {
                        note!(diary, now, "call {call} finds nobody there");
                        if let Fate::Arrives(after) = self.network.fate((way.1, way.0)) {
                            self.send(now + after[0], Parcel::Tear { connection });
                        }
                        continue;
                    }
                    note!(diary, now, "call {call} arrives at {}", way.1);
                    let (line, end) = line();
                    end.give(&message);
                    machine.accept(line);
                    self.served.push(Served { call, connection, way, end });
                }
                Parcel::Answer { call, connection, way, message, is_whole } => {
                    let is_heard = self.network.answer(connection, call, &message, is_whole);
                    let heard = if is_heard { "arrives at" } else { "comes too late for" };
                    note!(diary, now, "answer {call} {heard} {}", way.1);
                }
                Parcel::Tear { connection } => {
                    if self.network.tear(connection) {
                        note!(diary, now, "connection {connection} is torn");
                    }
                }
                Parcel::HangUp { connection } => {
                    for served in self.served.iter().filter(|it| it.connection == connection) {
                        note!(
                            diary,
                            now,
                            "{} learns that nobody waits for {}",
                            served.way.1,
                            served.call
                        );
                        served.end.shut(Shut::Closed);
                    }
                }
            }
        }
    }

    /// Tears, later, what is connected to a host that has crashed, as far as its machine says so.
    pub(crate) fn crashed(&mut self, host: Host, now: Millis) {
        let served = std::mem::take(&mut self.served);
        for served in served {
            if served.way.1 != host {
                self.served.push(served);
            } else if let Fate::Arrives(after) = self.network.fate((host, served.way.0)) {
                self.send(now + after[0], Parcel::Tear { connection: served.connection });
            }
        }
    }
}

/// What a message says, in short.
fn in_short(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return "rubbish".to_owned() };
    let first = head.lines().next().unwrap_or_default();
    let first = first.trim_start_matches("POST /internal/v1/").trim_end_matches(" HTTP/1.1");
    let mut short = first.trim_start_matches("HTTP/1.1 ").to_owned();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let rows = body["items"].as_array().or(body["results"].as_array());
    for row in rows.into_iter().flatten() {
        let row = row.as_object();
        let plain = row.filter(|row| row.contains_key("step")).map(|row| {
            let number = |name: &str| row.get(name).and_then(Value::as_i64).unwrap_or_default();
            let step = row["step"].as_str().unwrap_or_default();
            format!("{step} {}#{}", number("booking"), number("attempt"))
        });
        let row = plain.unwrap_or_else(|| {
            row.map(|row| Value::Object(row.clone()).to_string()).unwrap_or_default()
        });
        let _ = write!(short, ", {row}");
    }
    if rows.is_none()
        && let Some(detail) = body["detail"].as_str()
    {
        let _ = write!(short, ", {detail}");
    }
    short
}
