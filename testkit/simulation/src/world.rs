//! The world: all of it together, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use eventbooker_core::accounts::Posting;
use eventbooker_core::bookings::State;
use eventbooker_core::events::{Draft, Event};
use eventbooker_core::{BookingId, Context, EventId, UserId};
use eventbooker_engine::Engine;
use eventbooker_engine::check::Databases;
use eventbooker_store::Store;
use eventbooker_store::sqlite::SqliteStore;
use eventbooker_testkit::outcome;
use eventbooker_testkit::service::ADMIN;
use tempfile::TempDir;

use crate::Control;
use crate::chance::Chance;
use crate::courier::Courier;
use crate::diary::{Diary, Millis, note};
use crate::faults::{Blow, Faults};
use crate::host::Host;
use crate::judge::{Rows, judge};
use crate::machine::{Machine, SERVICES};
use crate::network::Network;
use crate::people::{ATTENDEES, People};

/// Everything has to have come to rest so long after the faults have stopped: two of the longest waits
/// between tries, the lease of whoever has crashed, and the last holds' deadline.
const REST_WITHIN: Millis = 240_000;
/// How often somebody looks whether it has.
const LOOK_EVERY: Millis = 1_000;
/// Events to book.
const EVENTS: usize = 3;
/// Rows of one user.
const ROWS_MAX: u32 = 10_000;

/// Makes an event, again if the disk doesn't say that it is there.
fn make_event(machine: &Machine, draft: &Draft) -> EventId {
    let make = async |engine: &Engine| {
        for _ in 0..10 {
            if let Ok(event) = outcome(engine.create_event(ADMIN, draft.clone(), None).await) {
                return event.id;
            }
        }
        panic!("no event can be made");
    };
    machine.ask(make).expect("it runs")
}

pub(crate) struct World {
    diary: Diary,
    chance: Chance,
    now: Millis,
    faults: Faults,
    faults_until: Millis,
    network: Network,
    courier: Courier,
    machines: BTreeMap<Host, Machine>,
    /// When those that don't run start again.
    starts: BTreeMap<Host, Millis>,
    /// Until when processes stand still.
    still: BTreeMap<Host, Millis>,
    people: People,
    events: Vec<EventId>,
    // Dropped last.
    _directory: TempDir,
}

impl World {
    pub(crate) fn new(seed: u64, control: Option<Control>, mut diary: Diary) -> Self {
        let directory = tempfile::Builder::new();
        // In memory, where there is such a place: what a crash of the whole machine does to files is
        // another matter.
        let directory = directory.tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.expect("there is a place for files");
        let network = Network::new(Chance::of(seed, "network"));
        let chance = Chance::of(seed, "world");
        let mut machines = BTreeMap::new();
        for service in SERVICES {
            let host = Host::of(service);
            let machine = Machine::new(host, directory.path(), seed, control, network.clone());
            machines.insert(host, machine);
        }
        if chance.percent(50) {
            let other = machines[&Host::of(Context::Bookings)].beside(2);
            machines.insert(other.host(), other);
        }
        for (host, machine) in &mut machines {
            machine.start(0);
            note!(diary, 0, "{host}'s clock is ahead by {} ms", machine.skew_millis());
        }
        let hosts = machines.keys().copied().collect();
        let faults = Faults::new(Chance::of(seed, "faults"), hosts);
        let events: Vec<EventId> = (0..EVENTS)
            .map(|_| {
                let draft = Draft {
                    name: "Green run".to_owned(),
                    description: String::new(),
                    starts_at: None,
                    capacity: i64::try_from(chance.between(2, 12)).unwrap_or(2),
                    price_minor: *chance.one_of(&[0, 10, 40]),
                    payment_window_minutes: 1,
                };
                make_event(&machines[&Host::of(Context::Events)], &draft)
            })
            .collect();
        let people = People::new(Chance::of(seed, "people"), events.clone());
        let faults_until = *chance.one_of(&[10_000, 25_000, 60_000]);
        faults.begin(&network, &mut diary);
        Self {
            courier: Courier::new(network.clone()),
            diary,
            chance,
            now: 0,
            faults,
            faults_until,
            network,
            machines,
            starts: BTreeMap::new(),
            still: BTreeMap::new(),
            people,
            events,
            _directory: directory,
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.diary.digest()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.diary.steps()
    }

    /// Lets it go on to its end, and brings what is wrong with it.
    pub(crate) fn run(&mut self) -> Vec<String> {
        while self.now < self.faults_until {
            self.suffer();
            self.step(true);
        }
        self.make_peace();
        if let Err(unrest) = self.rest() {
            return vec![unrest];
        }
        note!(self.diary, self.now, "everything rests; whoever has a key asks again");
        self.people.call_the_roll();
        if let Err(unrest) = self.rest() {
            return vec![unrest];
        }
        let rows = self.rows();
        let mut wrong = self.people.contradictions().to_vec();
        wrong.extend(judge(self.people.orders(), &rows));
        for machine in self.machines.values_mut() {
            machine.crash();
        }
        wrong.extend(self.recount());
        wrong
    }

    /// One step of time.
    fn step(&mut self, has_wishes: bool) {
        self.network.set_now(self.now);
        self.courier.deliver(self.now, &self.machines, &mut self.diary);
        self.people.act(self.now, has_wishes, &self.machines, &mut self.diary);
        let is_busy = self.people.are_waiting() || self.courier.is_busy();
        let span = if is_busy { self.chance.between(1, 40) } else { self.chance.between(20, 200) };
        let due = self.courier.next_due().unwrap_or(Millis::MAX).max(self.now + 1);
        self.now = due.min(self.now + span);
        for (host, machine) in &mut self.machines {
            if !self.still.contains_key(host) {
                machine.step(self.now);
            }
        }
        self.courier.collect(self.now, &mut self.diary);
    }

    /// Whatever goes wrong by now.
    fn suffer(&mut self) {
        let now = self.now;
        let due: Vec<Host> =
            self.starts.iter().filter(|(_, at)| **at <= now).map(|(host, _)| *host).collect();
        for host in due {
            self.start(host);
        }
        let due: Vec<Host> =
            self.still.iter().filter(|(_, at)| **at <= now).map(|(host, _)| *host).collect();
        for host in due {
            self.go_on(host);
        }
        match self.faults.strike(now, &self.network, &mut self.diary) {
            Some(Blow::Crash { host, starts_at }) if self.runs(host) => {
                note!(self.diary, now, "{host} crashes until {starts_at}");
                self.machine(host).crash();
                self.still.remove(&host);
                self.courier.crashed(host, now);
                self.starts.insert(host, starts_at);
            }
            Some(Blow::Restart { host, starts_at })
                if self.runs(host) && !self.still.contains_key(&host) =>
            {
                note!(self.diary, now, "{host} is stopped until {starts_at}");
                self.machine(host).stop();
                self.courier.crashed(host, now);
                self.starts.insert(host, starts_at);
            }
            Some(Blow::StandStill { host, until }) if self.runs(host) => {
                note!(self.diary, now, "{host} stands still until {until}");
                self.still.insert(host, until);
            }
            Some(_) | None => {}
        }
    }

    fn machine(&mut self, host: Host) -> &mut Machine {
        self.machines.get_mut(&host).expect("each host has its machine")
    }

    fn runs(&self, host: Host) -> bool {
        self.machines[&host].is_running()
    }

    fn start(&mut self, host: Host) {
        let now = self.now;
        self.starts.remove(&host);
        note!(self.diary, now, "{host} starts");
        self.machine(host).start(now);
    }

    fn go_on(&mut self, host: Host) {
        let now = self.now;
        self.still.remove(&host);
        note!(self.diary, now, "{host} goes on");
        self.machine(host).stood_still(now);
    }

    fn make_peace(&mut self) {
        note!(self.diary, self.now, "the faults stop");
        self.network.clear_up();
        for host in self.machines.keys().copied().collect::<Vec<_>>() {
            if self.still.contains_key(&host) {
                self.go_on(host);
            }
            if !self.runs(host) {
                self.start(host);
            }
        }
    }

    /// Waits until everything has come to rest.
    fn rest(&mut self) -> Result<(), String> {
        let give_up = self.now + REST_WITHIN;
        let mut look_at = self.now;
        while self.now < give_up {
            self.step(false);
            let is_quiet = self.people.are_content() && self.courier.next_due().is_none();
            if is_quiet && look_at <= self.now {
                look_at = self.now + LOOK_EVERY;
                if self.unrest().is_none() {
                    return Ok(());
                }
            }
        }
        let unrest = self.unrest().unwrap_or_else(|| "people are not content".to_owned());
        Err(format!("{REST_WITHIN} ms after the faults have stopped, {unrest}"))
    }

    /// What has not come to rest.
    fn unrest(&self) -> Option<String> {
        let book = &self.machines[&Host::of(Context::Bookings)];
        let errands = book.ask(async |engine| engine.store().errands(BookingId::new(0), 1).await);
        if let Some(errand) = errands.expect("it runs").expect("rows can be read").first() {
            return Some(format!("there is an errand: {errand:?}"));
        }
        let moves = |state: State| !matches!(state, State::Complete | State::Cancelled);
        let rows = self.rows();
        if let Some(booking) = rows.bookings.values().find(|booking| moves(booking.state)) {
            return Some(format!("a booking has not ended: {booking:?}"));
        }
        let is_releasing = |event: &&Event| event.cancellation.is_some_and(|it| it.is_releasing);
        let releasing = rows.events.values().find(is_releasing);
        releasing.map(|event| format!("a cancelled event has bookings: {event:?}"))
    }

    fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        let users = (1..=ATTENDEES).map(UserId::new);
        for user in users {
            let bookings = self.machines[&Host::of(Context::Bookings)].ask(async |engine| {
                engine.store().bookings_of_user(user, BookingId::new(0), ROWS_MAX).await
            });
            let bookings = bookings.expect("it runs").expect("rows can be read");
            rows.bookings.extend(bookings.into_iter().map(|booking| (booking.id, booking)));
            let money = self.machines[&Host::of(Context::Accounts)].ask(async |engine| {
                let account = engine.store().account(user).await?;
                Ok::<_, eventbooker_store::StoreError>((
                    account,
                    engine.store().postings(user, None, ROWS_MAX).await?,
                ))
            });
            let (account, postings) = money.expect("it runs").expect("rows can be read");
            rows.balances += account.balance.as_minor();
            rows.postings.extend(
                postings.into_iter().map(|Posting { kind, amount, .. }| (user, kind, amount)),
            );
        }
        for id in &self.events {
            let event = self.machines[&Host::of(Context::Events)]
                .ask(async |engine| engine.store().event(*id).await)
                .expect("it runs");
            let event = event.expect("rows can be read").expect("events stay");
            rows.events.insert(*id, event);
        }
        rows
    }

    /// Recounts every invariant over all databases.
    fn recount(&self) -> Vec<String> {
        let open = |machine: &Machine| {
            let service = machine.host().service;
            let store = SqliteStore::open_in_place(machine.file(), service.into());
            (service.into(), Arc::new(store.expect("the database opens")) as Arc<dyn Store>)
        };
        let firsts = SERVICES.into_iter().map(|service| &self.machines[&Host::of(service)]);
        let databases = Databases::of(firsts.map(open).collect());
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime needs nothing that could be missing");
        let report = runtime.block_on(databases.recount(&mut |_, _| {}));
        let findings = report.expect("rows can be read").findings.into_iter();
        findings.map(|finding| format!("{}: {}", finding.rule, finding.what)).collect()
    }
}
