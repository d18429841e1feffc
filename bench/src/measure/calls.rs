//! The calls whose rates are measured, and what the yardstick is asked instead.

use crate::report::Unit;
use crate::wrk::Request;

/// A call of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// Books one seat, to be paid later.
    Book,
    /// Books one seat and pays for it: a full saga.
    Purchase,
    /// Shows an event.
    ShowEvent,
}

impl Call {
    /// What the service is asked.
    pub(crate) fn request(self, event: i64, token: String) -> Request {
        match self {
            Self::Book => post(format!("/events/{event}/book"), token, ONE_SEAT.to_owned()),
            Self::Purchase => post("/book/create".to_owned(), token, one_seat_of(event)),
            Self::ShowEvent => get(format!("/events/{event}"), token),
        }
    }

    /// What the yardstick is asked instead.
    pub(crate) fn echo(self, event: i64, token: String) -> Request {
        match self {
            Self::Book => post(format!("/echo/{event}"), token, ONE_SEAT.to_owned()),
            Self::Purchase => post("/echo/create".to_owned(), token, one_seat_of(event)),
            Self::ShowEvent => get("/echo".to_owned(), token),
        }
    }

    /// The status of its answer, if it isn't refused.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Book => 201,
            Self::Purchase | Self::ShowEvent => 200,
        }
    }

    /// How its yardstick is called.
    pub(crate) fn yardstick(self) -> &'static str {
        match self {
            Self::Book => "yardstick: echo, a POST that does nothing",
            Self::Purchase => "yardstick: echo of a full saga's request and answer",
            Self::ShowEvent => "yardstick: a bare GET",
        }
    }

    /// In what its rate is counted.
    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Book | Self::Purchase => Unit::TimesEcho,
            Self::ShowEvent => Unit::TimesBareGet,
        }
    }
}

const ONE_SEAT: &str = r#"{"seats":1}"#;

/// One seat is what somebody gets who doesn't say how many.
fn one_seat_of(event: i64) -> String {
    format!(r#"{{"event_id":{event}}}"#)
}

fn get(path: String, token: String) -> Request {
    Request { method: "GET", path, token, body: String::new() }
}

fn post(path: String, token: String, body: String) -> Request {
    Request { method: "POST", path, token, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purchase_and_its_echo_are_asked_for_with_as_many_bytes() {
        let bytes = |request: Request| request.path.len() + request.body.len();
        let token = String::new;
        assert_eq!(
            bytes(Call::Purchase.request(1, token())),
            bytes(Call::Purchase.echo(1, token()))
        );
    }
}
