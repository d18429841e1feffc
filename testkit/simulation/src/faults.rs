//! What goes wrong, and when. Each seed has its own mix: with everything at once, much that takes a
//! quiet moment would never come about.

use eventbooker_core::Context;

use crate::chance::Chance;
use crate::diary::{Diary, Millis, note};
use crate::machine::SERVICES;
use crate::network::{Network, Way, Weather};

/// The ways that calls take; answers go back.
const CALLS: [Way; 3] = [
    (Context::Bookings, Context::Events),
    (Context::Bookings, Context::Accounts),
    (Context::Events, Context::Bookings),
];

/// What happens to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// It crashes, and starts again later.
    Crash { service: Context, starts_at: Millis },
    /// It is stopped properly, and starts again.
    Restart { service: Context, starts_at: Millis },
    /// Its process stands still for a while.
    StandStill { service: Context, until: Millis },
}

/// The faults of a run.
pub(crate) struct Faults {
    chance: Chance,
    next_at: Millis,
    pause_max: Millis,
    cuts: bool,
    one_way: bool,
    crashes: bool,
    stills: bool,
    storms: bool,
    usual: Weather,
}

impl Faults {
    pub(crate) fn new(chance: Chance) -> Self {
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
        Self {
            next_at: chance.between(0, 3_000),
            pause_max: *chance.one_of(&[1_500, 6_000, 20_000]),
            cuts: chance.percent(60),
            one_way: chance.percent(60),
            crashes: chance.percent(70),
            stills: chance.percent(30),
            storms: chance.percent(40),
            usual,
            chance,
        }
    }

    /// The weather at the beginning.
    pub(crate) fn begin(&self, network: &Network, diary: &mut Diary) {
        note!(diary, 0, "the usual weather: {:?}", self.usual);
        for (from, to) in CALLS {
            for way in [(from, to), (to, from)] {
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
        if self.next_at > now {
            return None;
        }
        let chance = &self.chance;
        self.next_at = now + chance.between(50, self.pause_max);
        let long = |max: Millis| now + chance.between(1, max);
        let (one, other) = *chance.one_of(&CALLS);
        let service = *chance.one_of(&SERVICES);
        match chance.between(0, 6) {
            0 if self.cuts => {
                let until = long(20_000);
                note!(diary, now, "nothing passes between {one} and {other} until {until}");
                for way in [(one, other), (other, one)] {
                    network.set_weather(way, |weather| weather.cut_until = until);
                }
            }
            1 if self.one_way => {
                let until = long(20_000);
                let way = if chance.percent(50) { (one, other) } else { (other, one) };
                note!(diary, now, "nothing passes from {} to {} until {until}", way.0, way.1);
                network.set_weather(way, |weather| weather.cut_until = until);
            }
            2 if self.storms => {
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
            3 if self.crashes => {
                let starts_at = long(*chance.one_of(&[50, 2_000, 12_000]));
                return Some(Blow::Crash { service, starts_at });
            }
            4 if self.crashes => {
                return Some(Blow::Restart { service, starts_at: long(2_000) });
            }
            5 if self.stills => {
                let until = long(*chance.one_of(&[2_000, 20_000]));
                return Some(Blow::StandStill { service, until });
            }
            _ => {}
        }
        None
    }
}
