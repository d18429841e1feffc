//! The form in which an event is described, for a new one as for one that is edited.
//!
//! Two organisers may edit at once, and the engine changes what it is told to change. So each field of
//! an event that is edited comes with a digest of what stood in it when the page was made, and only
//! what differs from that is sent on: whoever corrects the name doesn't take back another's seats.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use eventbooker_core::Timestamp;
use eventbooker_core::events::{
    Amendment, CAPACITY_MAX, DESCRIPTION_CHARS_MAX, Draft, Event, NAME_CHARS_MAX,
    PAYMENT_WINDOW_MINUTES_MAX, PRICE_MINOR_MAX, Plan, PlanFault,
};
use eventbooker_engine::Refusal;
use sha2::{Digest, Sha256};

use super::super::super::forms::{Form, Trouble};
use super::super::super::texts::{DateFault, Texts, Zone};
use crate::problem::{FieldError, ProblemKind};
use crate::refusals::{FIRST_SEED, problem_of};

/// The fields, as the API calls those that it has, too.
const FIELDS: [&str; 7] =
    ["name", "description", "date", "zone", "capacity", "price", "paymentTTL"];
/// How long a hold waits for its payment unless the organiser says something else, in minutes.
const PAYMENT_WINDOW_MINUTES: u32 = 30;

/// What stands in the form, and what is wrong with it.
pub(super) struct EventForm {
    texts: Texts,
    fields: Vec<FieldText>,
    pub(super) trouble: Option<Trouble>,
    /// What is wrong with the date, if it isn't that it lies in the past.
    date_wrong: Option<&'static str>,
}

/// What stands in a field.
struct FieldText {
    name: &'static str,
    text: String,
    /// The digest of what stood in it when the page was made; nothing in a new event's form.
    was: Option<String>,
}

impl EventForm {
    /// The form for a new event.
    pub(super) fn empty(texts: Texts) -> Self {
        Self::with(texts, |field| match field {
            "zone" => texts.zone().name().to_owned(),
            "price" => "0".to_owned(),
            "paymentTTL" => PAYMENT_WINDOW_MINUTES.to_string(),
            _ => String::new(),
        })
    }

    /// The form for an event as it is, with its time in the reader's zone.
    pub(super) fn of_event(event: &Event, texts: Texts) -> Self {
        let plan = &event.plan;
        let mut form = Self::with(texts, |field| match field {
            "name" => plan.name.clone(),
            "description" => lines(&plan.description),
            "date" => plan.starts_at.map(|at| date_text(at, texts.zone())).unwrap_or_default(),
            "zone" => texts.zone().name().to_owned(),
            "capacity" => plan.capacity.to_string(),
            "price" => plan.price.as_minor().to_string(),
            _ => plan.payment_window.as_minutes().to_string(),
        });
        for field in &mut form.fields {
            field.was = Some(digest(&field.text));
        }
        form
    }

    /// The form as it was sent.
    pub(super) fn sent(form: &Form, texts: Texts) -> Self {
        let mut sent = Self::with(texts, |field| lines(form.text(field)));
        for field in &mut sent.fields {
            let was = form.text(&format!("{}-was", field.name));
            field.was = Some(was.to_owned()).filter(|was| !was.is_empty());
        }
        sent
    }

    fn with(texts: Texts, text: impl Fn(&'static str) -> String) -> Self {
        let fields = FIELDS.map(|name| FieldText { name, text: text(name), was: None });
        Self { texts, fields: fields.into(), trouble: None, date_wrong: None }
    }

    fn field(&self, name: &str) -> Option<&FieldText> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub(super) fn value(&self, name: &str) -> &str {
        self.field(name).map_or("", |field| &field.text)
    }

    /// The hidden fields that tell what stood in the others.
    pub(super) fn originals(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.fields.iter().filter_map(|field| Some((field.name, field.was.as_deref()?)))
    }

    fn is_changed(&self, name: &str) -> bool {
        self.field(name).is_some_and(|field| field.was.as_ref() != Some(&digest(&field.text)))
    }

    /// The whole number in a field. What is none is out of every range, and refused as that.
    fn number(&self, name: &str) -> i64 {
        self.value(name).trim().parse().unwrap_or(-1)
    }

    /// When the event is to take place, or the field that doesn't tell.
    fn starts_at(&mut self) -> Result<Option<Timestamp>, &'static str> {
        let zone = Zone::named(self.value("zone")).ok_or("zone")?;
        if self.value("date").trim().is_empty() {
            return Ok(None);
        }
        let instant = zone.instant(self.value("date")).map_err(|fault| {
            self.date_wrong = Some(match fault {
                DateFault::NotOne => "event-date-wrong",
                DateFault::Skipped => "event-date-skipped",
            });
            "date"
        });
        instant.map(Some)
    }

    /// The event that the form describes.
    pub(super) fn draft(&mut self, now: Timestamp) -> Result<Draft, Trouble> {
        let starts_at = self.starts_at();
        let draft = Draft {
            name: self.value("name").to_owned(),
            description: self.value("description").to_owned(),
            starts_at: starts_at.unwrap_or_default(),
            capacity: self.number("capacity"),
            price_minor: self.number("price"),
            payment_window_minutes: self.number("paymentTTL"),
        };
        match starts_at {
            Ok(_) => Ok(draft),
            Err(field) => Err(unsent(field, draft.check(now).err(), now)),
        }
    }

    /// What the form says to be different about an event.
    pub(super) fn amendment(&mut self, plan: &Plan, now: Timestamp) -> Result<Amendment, Trouble> {
        let starts_at = if self.is_changed("date") || self.is_changed("zone") {
            let starts_at = self.starts_at();
            if starts_at == Ok(None) && plan.starts_at.is_some() {
                self.date_wrong = Some("event-date-stays");
                Err("date")
            } else {
                starts_at
            }
        } else {
            Ok(None)
        };
        let text = |name| self.is_changed(name).then(|| self.value(name).to_owned());
        let number = |name| self.is_changed(name).then(|| self.number(name));
        let amendment = Amendment {
            name: text("name"),
            description: text("description"),
            starts_at: starts_at.unwrap_or_default(),
            capacity: number("capacity"),
            price_minor: number("price"),
            payment_window_minutes: number("paymentTTL"),
        };
        match starts_at {
            Ok(_) => Ok(amendment),
            Err(field) => Err(unsent(field, amendment.check(plan, now).err(), now)),
        }
    }

    pub(super) fn label(&self, field: &str) -> String {
        let texts = self.texts;
        match field {
            "name" => texts.say("event-name"),
            "description" => texts.say("event-description"),
            "date" => texts.say("event-date"),
            "zone" => texts.say("event-zone"),
            "capacity" => texts.say("event-capacity"),
            "price" => texts.say("event-price"),
            _ => texts.say("event-window"),
        }
    }

    pub(super) fn hint(&self, field: &str) -> String {
        let texts = self.texts;
        match field {
            "name" => texts.with("event-name-hint", "max", NAME_CHARS_MAX),
            "description" => texts.say("event-description-hint"),
            "date" => texts.say("event-date-hint"),
            "zone" => texts.say("event-zone-hint"),
            "capacity" => texts.say("event-capacity-hint"),
            "price" => texts.say("event-price-hint"),
            _ => texts.say("event-window-hint"),
        }
    }

    /// The most characters of it, if it is a text.
    #[expect(clippy::unused_self, reason = "templates call it where they have a form")]
    pub(super) fn chars_max(&self, field: &str) -> Option<usize> {
        match field {
            "name" => Some(NAME_CHARS_MAX),
            "description" => Some(DESCRIPTION_CHARS_MAX),
            _ => None,
        }
    }

    pub(super) fn is_wrong(&self, field: &str) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| {
            trouble.is_about(field) || (field == "capacity" && is_below_booked(trouble))
        })
    }

    pub(super) fn wrong(&self, field: &str) -> String {
        let texts = self.texts;
        let most = |name, max: i64| texts.with(name, "max", texts.number(max));
        match (field, &self.trouble) {
            ("capacity", Some(trouble)) if is_below_booked(trouble) => trouble.words(texts),
            ("name", _) => texts.with("event-name-wrong", "max", NAME_CHARS_MAX),
            ("description", _) => {
                let max = i64::try_from(DESCRIPTION_CHARS_MAX).unwrap_or(i64::MAX);
                most("event-description-wrong", max)
            }
            ("date", _) => texts.say(self.date_wrong.unwrap_or("event-date-past")),
            ("zone", _) => texts.say("event-zone-wrong"),
            ("capacity", _) => most("event-capacity-wrong", CAPACITY_MAX.into()),
            ("price", _) => most("event-price-wrong", PRICE_MINOR_MAX),
            _ => most("event-window-wrong", PAYMENT_WINDOW_MINUTES_MAX.into()),
        }
    }
}

/// What is wrong with a form that can't be sent on because of this field: that, and whatever else.
fn unsent(field: &'static str, faults: Option<Vec<PlanFault>>, now: Timestamp) -> Trouble {
    let refusal = Refusal::Plan(faults.unwrap_or_default());
    let mut problem = problem_of(&refusal, FIRST_SEED, now);
    problem.errors.push(FieldError::new(field, "does not name an instant"));
    problem.into()
}

fn is_below_booked(trouble: &Trouble) -> bool {
    trouble.kind == ProblemKind::CapacityBelowBooked
}

/// A date and time as a browser's field for them holds it. Seconds would make it look broken there;
/// they stay as they are until the field is changed.
fn date_text(at: Timestamp, zone: Zone) -> String {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::MAX);
    zone.at(at).strftime("%Y-%m-%dT%H:%M").to_string()
}

/// A text with line ends of one kind: browsers send two characters for each, whatever was there.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn digest(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(text.trim()))
}
