//! People: attendees who book, pay and change their minds, and an organiser. Each has one wish at a
//! time, waits so long and no longer, and repeats what has a key until there is an answer to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use eventbooker_core::bookings::State;
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_testkit::service::ADMIN;
use tokio::task::JoinHandle;

use crate::chance::Chance;
use crate::diary::{Diary, Millis, note};
use crate::host::Host;
use crate::machine::Machine;
use crate::orders::{Deed, Order, Said};
use crate::words::Word;

/// Attendees.
pub(crate) const ATTENDEES: i64 = 4;
/// How long somebody waits for an answer; longer than a service waits for its sagas.
const PATIENCE: Millis = 8_000;
/// So often something with a key is repeated before somebody turns to something else for now.
const TRIES_IN_A_ROW: u32 = 3;

/// An organiser thinks so many times as long.
const ORGANISER_PAUSES: u64 = 6;

/// What was said, of which order and at which try.
type Mail = Arc<Mutex<Vec<(usize, u32, Said)>>>;

struct Person {
    user: UserId,
    /// When they think of something next.
    next_at: Millis,
    /// What they have asked and wait for.
    waits: Option<Waits>,
    /// What they have to repeat, and how often they have in a row.
    repeats: Option<(usize, u32)>,
    /// What they have put off repeating.
    put_off: Vec<usize>,
    bookings: Vec<BookingId>,
    /// What they have lost patience with.
    weary_of: Option<BookingId>,
}

struct Waits {
    order: usize,
    try_number: u32,
    until: Millis,
    task: JoinHandle<()>,
}

/// All of them, and whatever they have asked for.
pub(crate) struct People {
    chance: Chance,
    all: Vec<Person>,
    events: Vec<EventId>,
    /// How long somebody thinks, at most.
    pause_max: Millis,
    orders: Vec<Order>,
    /// Orders that were answered twice, differently.
    contradictions: Vec<String>,
    tries_ever: u32,
    mail: Mail,
}

impl People {
    pub(crate) fn new(chance: Chance, events: Vec<EventId>) -> Self {
        let person = |user| Person {
            user,
            next_at: 0,
            waits: None,
            repeats: None,
            put_off: Vec::new(),
            bookings: Vec::new(),
            weary_of: None,
        };
        let attendees = (1..=ATTENDEES).map(|user| person(UserId::new(user)));
        let all = attendees.chain([person(ADMIN.user_id)]).collect();
        let pause_max = *chance.one_of(&[300, 1_000, 3_000]);
        Self {
            chance,
            all,
            events,
            pause_max,
            orders: Vec::new(),
            contradictions: Vec::new(),
            tries_ever: 0,
            mail: Mail::default(),
        }
    }

    pub(crate) fn orders(&self) -> &[Order] {
        &self.orders
    }

    pub(crate) fn contradictions(&self) -> &[String] {
        &self.contradictions
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn are_waiting(&self) -> bool {
        self.all.iter().any(|person| person.waits.is_some())
    }

    /// Whether nobody wants anything any more.
    pub(crate) fn are_content(&self) -> bool {
        let is_content = |person: &Person| {
            person.waits.is_none() && person.repeats.is_none() && person.put_off.is_empty()
        };
        self.all.iter().all(is_content)
    }

    /// Has everybody ask again for what was answered to them under a key.
    pub(crate) fn call_the_roll(&mut self) {
        for person in &mut self.all {
            let of_person = self.orders.iter().filter(|order| order.user == person.user);
            person.put_off = of_person.filter(|it| it.has_key).map(|it| it.number).collect();
            person.next_at = 0;
        }
    }

    /// Everybody hears what was said, and asks for something if it is time.
    pub(crate) fn act(
        &mut self,
        now: Millis,
        has_wishes: bool,
        machines: &BTreeMap<Host, Machine>,
        diary: &mut Diary,
    ) {
        self.hear(now, diary);
        for index in 0..self.all.len() {
            self.wait(index, now, diary);
            let person = &self.all[index];
            if person.waits.is_none()
                && person.next_at <= now
                && let Some((order, repeated)) = self.choose(index, has_wishes)
            {
                self.ask(index, order, repeated, now, machines, diary);
            }
        }
    }

    fn hear(&mut self, now: Millis, diary: &mut Diary) {
        let mail = std::mem::take(&mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, try_number, said) in mail {
            let is_waited_for = |person: &&mut Person| {
                person
                    .waits
                    .as_ref()
                    .is_some_and(|waits| (waits.order, waits.try_number) == (number, try_number))
            };
            // Nobody listens any more to what comes too late.
            let Some(person) = self.all.iter_mut().find(is_waited_for) else { continue };
            note!(diary, now, "user {} hears of order {number}: {said}", person.user);
            person.waits = None;
            let pauses = if person.user == ADMIN.user_id { ORGANISER_PAUSES } else { 1 };
            person.next_at = now + pauses * self.chance.between(10, self.pause_max);
            let order = &mut self.orders[number];
            if let Said::Answer(words) | Said::Meanwhile(words) = &said
                && let Word::Booking { id, state, .. } = Word::read(words)
            {
                if !order.heard.contains(&id) {
                    order.heard.push(id);
                }
                if !person.bookings.contains(&id) && state != State::Cancelled {
                    person.bookings.push(id);
                }
            }
            if let Said::Meanwhile(words) | Said::Answer(words) = &said
                && let Word::Booking { id, state, .. } = Word::read(words)
                && matches!(state, State::Occupying | State::Paying | State::Completing)
                && self.chance.percent(40)
            {
                person.weary_of = Some(id);
                // It is asked for again, but not now.
                person.put_off.extend(person.repeats.take().map(|(order, _)| order));
            }
            let Said::Answer(words) = said else { continue };
            person.repeats = person.repeats.filter(|(repeated, _)| *repeated != number);
            match &order.settled {
                Some(before) if *before != words => self.contradictions.push(format!(
                    "order {number} ({}) was answered `{before}` first, and then `{words}`",
                    order.deed
                )),
                Some(_) => {}
                None => order.settled = Some(words),
            }
        }
    }

    /// Somebody goes on waiting, or not.
    fn wait(&mut self, index: usize, now: Millis, diary: &mut Diary) {
        let person = &mut self.all[index];
        let Some(waits) = &person.waits else { return };
        let is_cut_off = waits.task.is_finished();
        if !is_cut_off && waits.until > now {
            return;
        }
        let why = if is_cut_off { "is cut off from" } else { "waits no longer for" };
        note!(diary, now, "user {} {why} order {}", person.user, waits.order);
        // A service drops what nobody waits for.
        waits.task.abort();
        person.waits = None;
        person.next_at = now + self.chance.between(10, self.pause_max);
    }

    /// What somebody asks for next, and how often they have asked for it in a row.
    fn choose(&mut self, index: usize, has_wishes: bool) -> Option<(usize, u32)> {
        let chance = &self.chance;
        let person = &mut self.all[index];
        if let Some((order, repeated)) = person.repeats.take() {
            if repeated < TRIES_IN_A_ROW {
                return Some((order, repeated + 1));
            }
            person.put_off.push(order);
        }
        let is_weary = has_wishes && person.weary_of.is_some();
        if !person.put_off.is_empty() && !is_weary && (!has_wishes || chance.percent(20)) {
            return Some((person.put_off.remove(0), 1));
        }
        if !has_wishes {
            return None;
        }
        let deed = if person.user == ADMIN.user_id { self.organise() } else { self.attend(index) };
        let (number, user) = (self.orders.len(), self.all[index].user);
        let has_key = self.chance.percent(60);
        let (settled, heard) = (None, Vec::new());
        self.orders.push(Order { number, user, deed, has_key, settled, heard });
        Some((number, 1))
    }

    fn attend(&self, index: usize) -> Deed {
        let chance = &self.chance;
        let person = &self.all[index];
        let event = *chance.one_of(&self.events);
        let seats = u32::try_from(chance.between(1, 4)).unwrap_or(1);
        match chance.between(0, 100) {
            0..20 => {
                // Each is of its own size, so that its posting can be told.
                let number = i64::try_from(self.orders.len()).unwrap_or(0);
                Deed::Deposit { amount: 20 + number }
            }
            20..40 => Deed::Purchase { event, seats },
            40..65 => Deed::Book { event, seats },
            what => match &person.bookings[..] {
                [] => Deed::Book { event, seats },
                bookings => {
                    // The last ones are more interesting.
                    let recent = &bookings[bookings.len().saturating_sub(4)..];
                    let booking = *chance.one_of(recent);
                    if what < 85 { Deed::Confirm { booking } } else { Deed::Cancel { booking } }
                }
            },
        }
    }

    fn organise(&self) -> Deed {
        let chance = &self.chance;
        let event = *chance.one_of(&self.events);
        match chance.between(0, 100) {
            0..45 => {
                let price = *chance.one_of(&[0, 7, 15, 30]);
                Deed::Reprice { event, price }
            }
            45..95 => {
                let capacity = u32::try_from(chance.between(3, 16)).unwrap_or(3);
                Deed::Resize { event, capacity }
            }
            _ => Deed::CallOff { event },
        }
    }

    fn ask(
        &mut self,
        index: usize,
        number: usize,
        repeated: u32,
        now: Millis,
        machines: &BTreeMap<Host, Machine>,
        diary: &mut Diary,
    ) {
        self.tries_ever += 1;
        let (try_number, order) = (self.tries_ever, self.orders[number].clone());
        let person = &mut self.all[index];
        let key = if order.has_key { ", with a key" } else { "" };
        let service = order.deed.service();
        let hosts: Vec<Host> =
            machines.keys().filter(|host| host.service == service).copied().collect();
        let host = *self.chance.one_of(&hosts);
        note!(
            diary,
            now,
            "user {} asks {host} to {} (order {number}{key})",
            order.user,
            order.deed
        );
        if order.has_key {
            person.repeats = Some((number, repeated));
        }
        let (mail, has_key) = (Arc::clone(&self.mail), order.has_key);
        let task = machines[&host].spawn(|engine| async move {
            let said = order.place(&engine).await;
            let number = order.number;
            mail.lock().unwrap_or_else(PoisonError::into_inner).push((number, try_number, said));
        });
        let Some(task) = task else {
            note!(diary, now, "user {} finds nobody there", person.user);
            person.next_at = now + self.chance.between(100, 1_000 + self.pause_max);
            if !has_key {
                // Nobody has heard of it.
                self.orders[number].settled = Some("no: nobody was there".to_owned());
            }
            return;
        };
        let is_hasty = self.chance.percent(10);
        let until = now + if is_hasty { self.chance.between(1, 2_000) } else { PATIENCE };
        person.waits = Some(Waits { order: number, try_number, until, task });
    }
}
