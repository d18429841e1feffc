//! A client of services that come and go. It goes on whatever it hears, leaves open what nobody can
//! say yet, and knows in the end what has to be there.
//!
//! What was answered for certain has to be so. What was answered by "nothing was done" must not be
//! there. Of the rest, what had a key is asked for until it is answered; what had none may have
//! happened or not, and all that is left open by it is which of the two.
//!
//! Unlike an [attendee](crate::attendee) it doesn't know what its account holds while it is at work.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::SeededEntropy;
use crate::attendee::Event;
use crate::client::{Answer, Client};
use crate::sale::Sale;

/// What is paid in at once. Less than is spent, so that money is short now and then.
const PAYMENT: i64 = 10;
/// So many requests may be left open before they are asked for again first.
const OPEN_MAX: usize = 8;
/// So many of the latest bookings are moved.
const RECENT: usize = 40;
/// A customer waits for an answer until the proxy gives one, which it does in time by its own clock. A
/// virtual machine that stands still for a minute has many time limits end at once, this one not.
const WAITING: Duration = Duration::from_secs(600);
/// Of what was answered at once, one of so many is asked for once more.
const ONE_OF: usize = 16;
/// So often somebody asks for what has to be answered by now.
const TRIES_MAX: usize = 100;
/// How long whoever was put off waits. A second, as it is told, would leave hardly any load.
const PUT_OFF: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Book { event: Event, seats: i64 },
    Purchase { event: Event, seats: i64 },
    Confirm,
    Cancel,
    PayIn,
}

/// Something that was asked for.
#[derive(Debug)]
struct Deed {
    want: Want,
    /// The booking that it is about, once somebody has named it.
    booking: Option<i64>,
    key: Option<String>,
    outcome: Outcome,
    /// Whether it ever was left open.
    was_open: bool,
}

#[derive(Debug)]
enum Outcome {
    /// Nobody has said.
    Open,
    /// Somebody has said that nothing was done.
    Nothing,
    Answered(Answer),
}

/// What may have become of a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Held,
    Paid,
    Cancelled,
    /// It never came to anything.
    Gone,
}

impl Fate {
    /// By the store's number of a state; `None` if its saga is under way.
    const fn of(state: i64) -> Option<Self> {
        match state {
            2 => Some(Self::Held),
            4 => Some(Self::Paid),
            -1 | -5 => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// What databases hold for a customer.
#[derive(Debug)]
pub struct Rows {
    /// Number, event, seats, state and amount of each booking.
    pub bookings: Vec<[i64; 5]>,
    /// What the account holds.
    pub balance: i64,
}

/// A client, and all that it has heard.
pub struct Customer {
    /// Its number.
    pub user: i64,
    own: Client,
    /// Pays in for it.
    admin: Client,
    events: Vec<Event>,
    entropy: SeededEntropy,
    deeds: Vec<Deed>,
    /// What was asked of each booking, in this order.
    bookings: BTreeMap<i64, Vec<usize>>,
    open: BTreeSet<usize>,
}

impl Customer {
    /// A user who has signed in.
    pub fn new(own: &Client, admin: &Client, events: &[Event], seed: u64) -> Self {
        Self {
            user: own.get("/auth").id(),
            own: own.waiting_for(WAITING),
            admin: admin.waiting_for(WAITING),
            events: events.to_vec(),
            entropy: SeededEntropy::new(seed),
            deeds: Vec::new(),
            bookings: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// Asks for one thing after the other until the sale is over.
    pub fn work(&mut self, sale: &Sale) {
        while !sale.is_over() {
            let is_time = self.open.len() >= OPEN_MAX || self.entropy.below(8) == 0;
            if let Some(deed) = self.any_open().filter(|_| is_time) {
                self.ask(deed, sale);
            } else if self.entropy.below(8) == 0 {
                self.look(sale);
            } else {
                let (deed, number) = (self.next_deed(), self.deeds.len());
                if let Some(id) = deed.booking {
                    self.bookings.entry(id).or_default().push(number);
                }
                self.deeds.push(deed);
                self.ask(number, sale);
            }
        }
    }

    /// Asks for everything that is still open and has a key, until it is answered.
    pub fn settle(&mut self, sale: &Sale) {
        for number in self.open.clone() {
            let mut tries = 0;
            while self.open.contains(&number) {
                tries += 1;
                assert!(tries <= TRIES_MAX, "nobody ever answers {}", self.deeds[number].told());
                self.ask(number, sale);
            }
        }
    }

    /// Asks once more for what was answered under a key: for all that was ever open, and for some
    /// of the rest. Returns how many.
    pub fn ask_again(&self) -> usize {
        let is_asked = |(number, deed): &(usize, &Deed)| {
            deed.key.is_some() && (deed.was_open || number % ONE_OF == 0)
        };
        let mut count = 0;
        for (_, deed) in self.deeds.iter().enumerate().filter(is_asked) {
            let Outcome::Answered(answer) = &deed.outcome else { continue };
            let send = |number| {
                if number > 0 {
                    thread::sleep(PUT_OFF);
                }
                self.send(deed)
            };
            let again = (0..TRIES_MAX).map(send).find(|again| again.status != 503);
            let again = again.unwrap_or_else(|| panic!("nobody answers {} again", deed.told()));
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{deed:?}: {again:?}");
            assert_eq!((again.status, &again.body), (answer.status, &answer.body), "{deed:?}");
            count += 1;
        }
        count
    }

    /// What isn't as it was answered.
    pub fn complaints(&self, rows: &Rows) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut unnamed: Vec<&Deed> =
            self.plain_open().filter(|deed| deed.booking.is_none()).collect();
        for row @ [id, event, seats, state, amount] in &rows.bookings {
            let Some(fate) = Fate::of(*state) else {
                complaints.push(format!("a saga hasn't ended: {row:?}"));
                continue;
            };
            let price = self.events.iter().find(|known| known.id == *event).expect("ours").price;
            if matches!(fate, Fate::Held | Fate::Paid) && price * seats != *amount {
                complaints.push(format!("not its price: {row:?}"));
            }
            if self.bookings.contains_key(id) {
                let fates = self.fates(*id);
                if !fates.contains(&fate) {
                    let story = self.story(*id);
                    complaints.push(format!("{row:?} should be {fates:?}: {story}"));
                }
            } else if let Some(place) =
                unnamed.iter().position(|deed| deed.may_have_made(*event, *seats, fate))
            {
                unnamed.swap_remove(place);
            } else {
                complaints.push(format!("nobody has asked for this: {row:?}"));
            }
        }
        let there: BTreeSet<i64> = rows.bookings.iter().map(|[id, ..]| *id).collect();
        for id in self.bookings.keys().filter(|id| !there.contains(id)) {
            if !self.fates(*id).contains(&Fate::Gone) {
                complaints.push(format!("booking {id} is lost: {}", self.story(*id)));
            }
        }
        complaints.extend(self.complaint_about_money(rows));
        complaints.into_iter().map(|what| format!("user {}: {what}", self.user)).collect()
    }

    fn complaint_about_money(&self, rows: &Rows) -> Option<String> {
        let is_paid = |[_, _, _, state, _]: &&[i64; 5]| Fate::of(*state) == Some(Fate::Paid);
        let spent: i64 = rows.bookings.iter().filter(is_paid).map(|[.., amount]| amount).sum();
        let is_payment = |deed: &&Deed| deed.want == Want::PayIn;
        let is_certain = |deed: &&Deed| matches!(deed.outcome, Outcome::Answered(_));
        let certain = self.deeds.iter().filter(is_payment).filter(is_certain).count();
        let at_most = certain + self.plain_open().filter(is_payment).count();
        let paid_in = rows.balance + spent;
        let adds_up = (certain..=at_most)
            .any(|count| i64::try_from(count) == Ok(paid_in / PAYMENT))
            && paid_in % PAYMENT == 0;
        let Rows { balance, .. } = rows;
        (!adds_up).then(|| {
            format!("{balance} left and {spent} spent, of {certain} to {at_most} times {PAYMENT}")
        })
    }

    /// Requests without a key of which nobody knows.
    fn plain_open(&self) -> impl Iterator<Item = &Deed> {
        let is_open = |deed: &&Deed| matches!(deed.outcome, Outcome::Open);
        self.deeds.iter().filter(|deed| deed.key.is_none()).filter(is_open)
    }

    fn next_deed(&self) -> Deed {
        let event = self.events[self.entropy.below(self.events.len())];
        let seats = if self.entropy.below(2) == 0 { 1 } else { 3 };
        let of = |want, booking: i64| (want, Some(booking));
        let (held, paid) = (BTreeSet::from([Fate::Held]), BTreeSet::from([Fate::Paid]));
        let (want, booking) = match self.entropy.below(16) {
            0..3 => self.any_booking(|fates| *fates == held).map(|it| of(Want::Confirm, it)),
            3 => self.any_booking(|fates| *fates == held).map(|it| of(Want::Cancel, it)),
            4 => self.any_booking(|fates| *fates == paid).map(|it| of(Want::Cancel, it)),
            // While it is under way.
            5 => self.any_booking(|fates| fates.len() > 1).map(|it| of(Want::Cancel, it)),
            6..10 => Some((Want::Purchase { event, seats }, None)),
            10..12 => Some((Want::PayIn, None)),
            _ => None,
        }
        .unwrap_or((Want::Book { event, seats }, None));
        // The admin's keys are shared by all for whom the admin pays in.
        let key =
            (self.entropy.below(2) == 0).then(|| format!("key-{}-{}", self.user, self.deeds.len()));
        Deed { want, booking, key, outcome: Outcome::Nothing, was_open: false }
    }

    /// Some request that is open and has a key.
    fn any_open(&self) -> Option<usize> {
        let last = self.open.len().checked_sub(1)?;
        self.open.iter().nth(self.entropy.below(last + 1)).copied()
    }

    /// Some booking of the latest of which this is so.
    fn any_booking(&self, is_so: impl Fn(&BTreeSet<Fate>) -> bool) -> Option<i64> {
        let recent = self.bookings.keys().rev().take(RECENT).copied();
        let fitting: Vec<i64> = recent.filter(|id| is_so(&self.fates(*id))).collect();
        let last = fitting.len().checked_sub(1)?;
        Some(fitting[self.entropy.below(last + 1)])
    }

    fn ask(&mut self, number: usize, sale: &Sale) {
        let is_first = !self.open.contains(&number);
        let sent = sale.sends();
        let answer = self.send(&self.deeds[number]);
        let deed = &mut self.deeds[number];
        let outcome = match answer.status {
            202 => Outcome::Open,
            409 | 503 => match answer.any_problem()["type"].as_str() {
                Some("/problems/outcome-unknown" | "/problems/idempotency-key-in-flight") => {
                    Outcome::Open
                }
                _ if answer.status == 409 => Outcome::Answered(answer.clone()),
                // This time. It may have been done before.
                _ if is_first => Outcome::Nothing,
                _ => Outcome::Open,
            },
            200 | 201 | 402 | 404 | 410 => Outcome::Answered(answer.clone()),
            _ => panic!("{deed:?}: {answer:?}"),
        };
        let is_open = matches!(outcome, Outcome::Open);
        let is_put_off = !matches!(outcome, Outcome::Answered(_));
        deed.was_open |= is_open;
        deed.outcome = outcome;
        if is_open && deed.key.is_some() {
            self.open.insert(number);
        } else {
            self.open.remove(&number);
        }
        if matches!(answer.status, 200..=202) && self.deeds[number].want != Want::PayIn {
            self.take_note(number, answer.id());
        }
        sale.hear(sent, &answer, is_put_off);
        if is_put_off {
            thread::sleep(PUT_OFF);
        }
    }

    /// Takes note of the booking that something was asked of, or that has come of it.
    fn take_note(&mut self, number: usize, id: i64) {
        let deed = &mut self.deeds[number];
        assert!(deed.booking.is_none_or(|known| known == id), "{deed:?} is about {id}");
        deed.booking = Some(id);
        let is_new = matches!(deed.want, Want::Book { .. } | Want::Purchase { .. });
        let deeds = self.bookings.entry(id).or_default();
        if !deeds.contains(&number) {
            assert!(!is_new || deeds.is_empty(), "number {id} was given out twice: {deed:?}");
            deeds.push(number);
        }
    }

    fn send(&self, deed: &Deed) -> Answer {
        let (method, path, body) = match deed.want {
            Want::Book { event, seats } => {
                ("POST", format!("/events/{}/book", event.id), json!({"seats": seats}))
            }
            Want::Purchase { event, seats } => {
                let purchase = json!({"event_id": event.id, "seats": seats});
                ("POST", "/book/create".to_owned(), purchase)
            }
            Want::Confirm => {
                let id = deed.booking.expect("it is known");
                ("POST", format!("/events/{id}/confirm"), json!(null))
            }
            Want::Cancel => {
                let id = deed.booking.expect("it is known");
                ("POST", format!("/bookings/{id}/cancel"), json!(null))
            }
            Want::PayIn => {
                let deposit = json!({"delta": PAYMENT, "user_id": self.user});
                ("PUT", "/account/deposit".to_owned(), deposit)
            }
        };
        let client = if deed.want == Want::PayIn { &self.admin } else { &self.own };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut ask = client.ask(method, &path).body(body.as_bytes());
        if let Some(key) = &deed.key {
            ask = ask.key(key);
        }
        // The proxy stays, and hands on nothing that breaks off.
        ask.answer()
    }

    /// Looks at something that doesn't change anything.
    fn look(&self, sale: &Sale) {
        let event = self.events[self.entropy.below(self.events.len())].id;
        let booking = self.bookings.keys().next_back().copied().unwrap_or(1);
        let paths = [
            "/bookings".to_owned(),
            "/events".to_owned(),
            "/account/get".to_owned(),
            format!("/events/{event}"),
            format!("/events/get/{event}"),
            format!("/user/bookings/{booking}"),
            "/user/account".to_owned(),
        ];
        let path = &paths[self.entropy.below(paths.len())];
        let sent = sale.sends();
        let answer = self.own.get(path);
        sale.hear(sent, &answer, answer.status == 503);
        assert!(matches!(answer.status, 200 | 404 | 503), "{path}: {answer:?}");
        assert!(answer.status != 503 || answer.header("retry-after").is_some(), "{answer:?}");
    }

    /// What may have become of a booking, by all that was asked of it.
    fn fates(&self, id: i64) -> BTreeSet<Fate> {
        let mut fates = BTreeSet::new();
        for deed in self.bookings[&id].iter().map(|number| &self.deeds[*number]) {
            match &deed.outcome {
                Outcome::Nothing => {}
                Outcome::Open => fates.extend(deed.may_lead_to(&fates)),
                Outcome::Answered(answer) => {
                    if let Some(fate) = deed.has_led_to(answer) {
                        fates = BTreeSet::from([fate]);
                    }
                }
            }
        }
        fates
    }

    /// What was asked of a booking, and answered.
    fn story(&self, id: i64) -> String {
        let deeds = self.bookings[&id].iter().map(|number| &self.deeds[*number]);
        deeds.map(Deed::told).collect::<Vec<_>>().join(", then ")
    }
}

impl Deed {
    /// What was asked for, and answered.
    fn told(&self) -> String {
        let Self { want, key, outcome, .. } = self;
        match outcome {
            Outcome::Open | Outcome::Nothing => format!("{want:?} by {key:?}: {outcome:?}"),
            Outcome::Answered(Answer { status, body, .. }) => {
                format!("{want:?} by {key:?}: {status} {}", String::from_utf8_lossy(body))
            }
        }
    }

    fn may_lead_to(&self, before: &BTreeSet<Fate>) -> Vec<Fate> {
        match self.want {
            Want::Book { .. } => vec![Fate::Held, Fate::Gone],
            Want::Purchase { .. } => vec![Fate::Paid, Fate::Cancelled],
            Want::Confirm if before.contains(&Fate::Held) => vec![Fate::Paid],
            Want::Cancel => vec![Fate::Cancelled],
            Want::Confirm | Want::PayIn => Vec::new(),
        }
    }

    /// Whether it may have made a booking that nobody has named.
    fn may_have_made(&self, event: i64, seats: i64, fate: Fate) -> bool {
        match self.want {
            Want::Book { event: of, seats: count } => {
                fate == Fate::Held && (of.id, count) == (event, seats)
            }
            Want::Purchase { event: of, seats: count } => {
                fate != Fate::Held && (of.id, count) == (event, seats)
            }
            Want::Confirm | Want::Cancel | Want::PayIn => false,
        }
    }

    /// `None` if it has left everything as it was.
    fn has_led_to(&self, answer: &Answer) -> Option<Fate> {
        match (self.want, answer.status) {
            (Want::PayIn, _) | (Want::Confirm, 402) => None,
            (_, 200 | 201) => Some(fate_shown(&answer.json()["status"])),
            // There were no seats, or it is about something for which there were none.
            (Want::Book { .. }, 409) | (Want::Confirm | Want::Cancel, 404 | 410) => {
                Some(Fate::Gone)
            }
            (Want::Confirm, 409) => {
                answer.problem(409, "booking-cancelled");
                Some(Fate::Cancelled)
            }
            _ => panic!("{self:?}"),
        }
    }
}

/// By the text of the first seed's bookings, or the number of the second's.
fn fate_shown(status: &Value) -> Fate {
    let fate = match status.as_str() {
        Some("pending") => Some(Fate::Held),
        Some("confirmed") => Some(Fate::Paid),
        Some("cancelled") => Some(Fate::Cancelled),
        _ => status.as_i64().and_then(Fate::of),
    };
    fate.unwrap_or_else(|| panic!("no state of a booking: {status}"))
}
