//! What goes wrong, and when. Each seed has its own mix: with everything at once, much that takes a
//! quiet moment would never come about.

use eventbooker_core::Context;

use crate::chance::Chance;
use crate::diary::{Diary, Millis, note};
use crate::host::Host;
use crate::network::{Network, Way, Weather};

/// Who calls whom; answers go back.
const CALLS: [(Context, Context); 3] = [
    (Context::Bookings, Context::Events),
    (Context::Bookings, Context::Accounts),
    (Context::Events, Context::Bookings),
];

/// What happens to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// It crashes, and starts again later.
    Crash { host: Host, starts_at: Millis },
    /// It is stopped properly, and starts again.
    Restart { host: Host, starts_at: Millis },
    /// Its process stands still for a while.
    StandStill { host: Host, until: Millis },
}

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cut,
    OneWay,
    Storm,
    Crash,
    Restart,
    StandStill,
}

/// All of it, and in how many of a hundred runs it does.
const KINDS: [(Kind, u64); 6] = [
    (Kind::Cut, 60),
    (Kind::OneWay, 60),
    (Kind::Storm, 40),
    (Kind::Crash, 70),
    (Kind::Restart, 40),
    (Kind::StandStill, 40),
];

/// The faults of a run.
pub(crate) struct Faults {
    chance: Chance,
    next_at: Millis,
    pause_max: Millis,
    kinds: Vec<Kind>,
    usual: Weather,
    hosts: Vec<Host>,
    ways: Vec<Way>,
}

impl Faults {
    pub(crate) fn new(chance: Chance, hosts: Vec<Host>) -> Self {
        let some =
            |percent, all: &[u64]| if chance.percent(percent) { *chance.one_of(all) } else { 0 };
        let usual = Weather {
            cut_until: 0,
            lost_percent: some(60, &[1, 5, 20]),
            twice_percent: some(60, &[2, 10, 40]),
            late_percent: some(60, &[1, 5, 20]),
            broken_percent: some(30, &[2, 10]),
            delay_max: *chance.one_of(&[2, 20, 200]),
        };
        let calls = |from: Host| {
            let is_called = move |to: &&Host| CALLS.contains(&(from.service, to.service));
            hosts.iter().filter(is_called).map(move |to| (from, *to))
        };
        let ways = hosts.iter().copied().flat_map(calls).collect();
        Self {
            next_at: chance.between(0, 3_000),
            pause_max: *chance.one_of(&[1_500, 6_000, 20_000]),
            kinds: KINDS
                .into_iter()
                .filter(|(_, percent)| chance.percent(*percent))
                .map(|(kind, _)| kind)
                .collect(),
            usual,
            ways,
            hosts,
            chance,
        }
    }

    /// The weather at the beginning.
    pub(crate) fn begin(&self, network: &Network, diary: &mut Diary) {
        note!(diary, 0, "the usual weather: {:?}", self.usual);
        for (from, to) in &self.ways {
            for way in [(*from, *to), (*to, *from)] {
                network.set_weather(way, |weather| *weather = self.usual);
            }
        }
    }

    /// Does what is due by now to the network, and says what is due to a machine.
    pub(crate) fn strike(
        &mut self,
        now: Millis,
        network: &Network,
        diary: &mut Diary,
    ) -> Option<Blow> {
        if self.next_at > now || self.kinds.is_empty() {
            return None;
        }
        let chance = &self.chance;
        self.next_at = now + chance.between(50, self.pause_max);
        let long = |max: Millis| now + chance.between(1, max);
        let (one, other) = *chance.one_of(&self.ways);
        let host = *chance.one_of(&self.hosts);
        match chance.one_of(&self.kinds) {
            Kind::Cut => {
                let until = long(20_000);
                note!(diary, now, "nothing passes between {one} and {other} until {until}");
                for way in [(one, other), (other, one)] {
                    network.set_weather(way, |weather| weather.cut_until = until);
                }
            }
            Kind::OneWay => {
                let until = long(20_000);
                let way = if chance.percent(50) { (one, other) } else { (other, one) };
                note!(diary, now, "nothing passes from {} to {} until {until}", way.0, way.1);
                network.set_weather(way, |weather| weather.cut_until = until);
            }
            Kind::Storm => {
                let is_storm = chance.percent(60);
                note!(diary, now, "between {one} and {other} it storms: {is_storm}");
                for way in [(one, other), (other, one)] {
                    network.set_weather(way, |weather| {
                        let cut_until = weather.cut_until;
                        *weather = if is_storm {
                            Weather { lost_percent: 60, delay_max: 4_000, ..self.usual }
                        } else {
                            self.usual
                        };
                        weather.cut_until = cut_until;
                    });
                }
            }
            Kind::Crash => {
                let starts_at = long(*chance.one_of(&[50, 2_000, 12_000]));
                return Some(Blow::Crash { host, starts_at });
            }
            Kind::Restart => {
                return Some(Blow::Restart { host, starts_at: long(2_000) });
            }
            Kind::StandStill => {
                let until = long(*chance.one_of(&[2_000, 20_000]));
                return Some(Blow::StandStill { host, until });
            }
        }
        None
    }
}
