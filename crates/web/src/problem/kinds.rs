//! The table of problem kinds: slug, status, title and explanation of each, in one row.
//!
//! Titles and slugs go into JSON and HTML unescaped, so they hold letters, digits, spaces and
//! hyphens only (a test checks it). Explanations are prose in one or two paragraphs: what it means,
//! then the way out. They stay free of `<`, `>` and `&`.

use axum::http::StatusCode;

macro_rules! kinds {
    ($( $kind:ident, $slug:literal, $status:ident, $title:literal, [$($paragraph:literal),+ $(,)?]; )+) => {
        /// Which kind of problem; one for each `type` URI.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $(
                #[doc = concat!($title, " (`/problems/", $slug, "`).")]
                $kind,
            )+
        }

        impl ProblemKind {
            /// All of them, in the order of their status.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The last segment of the `type` URI.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)+ }
            }

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)+ }
            }

            /// The title: the same words for each occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }

            /// What it means and the way out, in paragraphs.
            pub const fn explanation(self) -> &'static [&'static str] {
                match self { $(Self::$kind => &[$($paragraph),+],)+ }
            }
        }
    };
}

kinds! {
    MalformedRequest, "malformed-request", BAD_REQUEST, "Malformed request", [
        "The bytes that arrived are not an HTTP/1.1 request: the request line, a header line or the framing of the body is broken. The connection is closed, because nothing that follows can be told apart.",
        "This comes from a broken client or from a proxy that speaks another protocol. Look at what is sent before the first empty line."];
    MalformedBody, "malformed-body", BAD_REQUEST, "Malformed body", [
        "The body could not be read as a JSON object: it is not JSON, not valid UTF-8, nested too deeply, names a member twice, broke off early, or is JSON but no object.",
        "The detail names the line and column where reading stopped. Correct the body and send it again."];
    InvalidValue, "invalid-value", BAD_REQUEST, "Invalid value", [
        "The request is readable, but a field is missing, unknown or of the wrong type, or an id in the path or a query parameter does not parse. Every bad field is listed in errors with its reason.",
        "Correct all listed fields; the API description at /docs shows what each call takes."];
    Unauthenticated, "unauthenticated", UNAUTHORIZED, "Not signed in", [
        "This call needs a signed-in user, and the request carried no session or one that has ended.",
        "Sign in with POST /login and send the cookie session_id that it sets."];
    InsufficientFunds, "insufficient-funds", PAYMENT_REQUIRED, "Insufficient funds", [
        "The account holds less than the booking costs. The members balance and amount say how much is there and how much is needed. Nothing was charged.",
        "Have money paid in and confirm again; with a new Idempotency-Key, because the old one keeps this answer. A pending booking keeps its seats until its deadline, which this answer did not change."];
    Forbidden, "forbidden", FORBIDDEN, "Forbidden", [
        "The session is valid, but its user may not do this. Making events and paying in is reserved for administrators; in a demo, everybody may pay into the own account.",
        "Use an account with the needed role, or ask an administrator."];
    CrossSite, "cross-site", FORBIDDEN, "Cross-site request refused", [
        "A page of another site made the browser send this request. Requests that change something are taken only from this site's own pages, or from programs that are no browsers.",
        "Send the request from a page of this site. Behind a proxy, make sure that it passes the Host header on, or configure the public origin."];
    NotFound, "not-found", NOT_FOUND, "Not found", [
        "There is no such page, event, booking or user, or it belongs to somebody else. Which of these it is, is not told.",
        "Check the path and the id. GET /events lists the events, GET /bookings the own bookings."];
    MethodNotAllowed, "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed", [
        "The path exists, but not with this method. The header Allow lists the methods that it takes.",
        "The API description at /docs shows each path with its methods."];
    RequestTimeout, "request-timeout", REQUEST_TIMEOUT, "Request timeout", [
        "The request did not arrive completely in the time that a request may take. Nothing was done, and the connection is closed.",
        "Send it again, in one piece. If it happens often, the network between client and server loses data."];
    AccountFull, "account-full", CONFLICT, "Account full", [
        "The account would hold more than 64 bits can say. Nothing was changed.",
        "Spend something first, and use a new Idempotency-Key: the old one keeps this answer."];
    SoldOut, "sold-out", CONFLICT, "Sold out", [
        "No seat of this event is free. The member freeSeats is 0.",
        "Seats become free again when a pending booking expires or a booking is cancelled; GET /events/{id}/live tells it as it happens."];
    TooFewSeats, "too-few-seats", CONFLICT, "Too few seats", [
        "Fewer seats are free than were asked for. The member freeSeats says how many there are. A booking is never filled in part.",
        "Book at most that many seats, or wait until others become free."];
    LoginTaken, "login-taken", CONFLICT, "Login taken", [
        "Somebody has registered this login already.",
        "Choose another login, or sign in if it is your own."];
    EventBegun, "event-begun", CONFLICT, "Event has begun", [
        "The event's date has come, and it takes no more bookings.",
        "Choose an event that lies ahead; GET /events lists them."];
    EventCancelled, "event-cancelled", CONFLICT, "Event cancelled", [
        "The organiser has cancelled the event. It takes no bookings and no payments, and it can no longer be changed. What was booked is released, and money that was paid is returned.",
        "Choose another event; GET /events lists them, and those that are cancelled have the member cancelledAt."];
    CapacityBelowBooked, "capacity-below-booked", CONFLICT, "Capacity below what is booked", [
        "The event would have fewer seats than are held or sold. The member occupied says how many that are. Nothing was changed.",
        "Choose a capacity of at least that many, or wait until seats become free. With an Idempotency-Key use a new one: the old one keeps this answer."];
    BookingCancelled, "booking-cancelled", CONFLICT, "Booking cancelled", [
        "The booking was cancelled, and a cancelled booking cannot be confirmed. Money that was paid for it has been returned.",
        "Make a new booking."];
    IdempotencyKeyInFlight, "idempotency-key-in-flight", CONFLICT, "Idempotency key in flight", [
        "The same request came before with the same Idempotency-Key, and what it asks for is still under way, because a part of the service is away for now. It ends by itself, and takes effect once.",
        "Send the same request again with the same key after the time in Retry-After, until it gets its answer. GET /bookings shows how the booking stands meanwhile."];
    HoldExpired, "hold-expired", GONE, "Booking expired", [
        "The booking existed, but it was not confirmed before its deadline. Its seats are free for others, and nothing was charged.",
        "Make a new booking and confirm it before the time in expiresAt."];
    BodyTooLarge, "body-too-large", PAYLOAD_TOO_LARGE, "Body too large", [
        "The body is larger than this service takes. It was not read to its end, and the connection is closed.",
        "No call needs a body of that size; send only the documented fields."];
    UnsupportedMediaType, "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type", [
        "The body is of a kind, or in a content coding, that this service does not read.",
        "Send plain JSON in UTF-8, without Content-Encoding."];
    ValidationFailed, "validation-failed", UNPROCESSABLE_ENTITY, "Validation failed", [
        "The request is well-formed, but a value breaks a rule, for example a capacity of 0, a date in the past or too many seats in one booking. Every bad field is listed in errors with the rule.",
        "Correct all listed fields and send the request again."];
    IdempotencyKeyReused, "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused", [
        "The Idempotency-Key was used before for a request with another method, path or body. The new request was not carried out.",
        "Use a fresh key for each new intention, and the same key only to repeat the very same request."];
    RateLimited, "rate-limited", TOO_MANY_REQUESTS, "Too many requests", [
        "Too many attempts were made in a short time: failed sign-ins with this login or from this address, registrations from this address, or requests by this user that came to nothing and have to be remembered all the same: those with an Idempotency-Key, and purchases that were cancelled at once for want of seats or money. The detail says which. Nothing was done by this request.",
        "Wait for the time in Retry-After. To learn what became of an earlier request, repeat it with its Idempotency-Key: an answer that was given is given again, whatever the limit."];
    HoldLimit, "hold-limit", TOO_MANY_REQUESTS, "Too many pending bookings", [
        "One user may hold only so many unpaid bookings and seats of one event at a time, so that nobody can lock up an event without paying. What the user has cancelled counts until the deadline that it had, or would have had.",
        "Confirm a pending booking, or wait until one expires; Retry-After says when to look again. Cancelling does not help."];
    HeadersTooLarge, "headers-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "Headers too large", [
        "The request line and the headers together are larger than this service takes, or there are too many header lines. The connection is closed.",
        "Often a browser has collected too many cookies for this host: delete them. Otherwise shorten the address or the headers."];
    Internal, "internal", INTERNAL_SERVER_ERROR, "Internal error", [
        "The service made a mistake. No request should ever cause this; it has been logged.",
        "Repeat a request that changes something only with the same Idempotency-Key, and please report what led to it."];
    Overloaded, "overloaded", SERVICE_UNAVAILABLE, "Overloaded", [
        "More requests wait than the service can work off in good time, so this one was refused at once instead of being kept waiting. Nothing was done.",
        "Try again after the time in Retry-After, and wait longer after each refusal."];
    Draining, "draining", SERVICE_UNAVAILABLE, "Shutting down", [
        "This process is being stopped and finishes only what it had accepted. Nothing was done for this request.",
        "Try again after the time in Retry-After; another process or the restarted one will answer."];
    StoreUnavailable, "store-unavailable", SERVICE_UNAVAILABLE, "Store unavailable", [
        "The database could not be reached or could not write, for example because its disk is full. Nothing was done; reading may still work.",
        "Try again after the time in Retry-After. For the operator: the detail and the log name the reason, and it is over when requests like this one succeed again; GET /ready asks only whether the database can be read, which it can be while its disk is full."];
    ServiceAway, "service-away", SERVICE_UNAVAILABLE, "Service away", [
        "A part of the service that has to take the first step of this can't be reached for now, and isn't kept busy with what would only wait. Nothing was done. What had begun before goes on when that part is back.",
        "Try again after the time in Retry-After."];
    OutcomeUnknown, "outcome-unknown", SERVICE_UNAVAILABLE, "Outcome unknown", [
        "The answer was not known in time: the change may have been made or not. It was certainly not made twice.",
        "Send the same request again with the same Idempotency-Key: it takes effect once and gets the true answer. Without a key, look before repeating."];
}

impl ProblemKind {
    /// The kind with this slug.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// What `Retry-After` says when nobody knows better; none where waiting does not help.
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slugs_are_unique_and_found_again() {
        let slugs: HashSet<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
        for &kind in ProblemKind::ALL {
            assert_eq!(ProblemKind::from_slug(kind.slug()), Some(kind));
        }
        assert_eq!(ProblemKind::from_slug("nothing"), None);
    }

    #[test]
    fn texts_need_no_escaping() {
        for kind in ProblemKind::ALL {
            assert!(kind.slug().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            assert!(
                kind.title()
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b" -".contains(&byte))
            );
            for paragraph in kind.explanation() {
                assert!(!paragraph.contains(['<', '>', '&']), "{kind:?}");
            }
        }
    }

    #[test]
    fn every_kind_is_an_error_and_they_are_sorted_by_status() {
        let statuses: Vec<u16> =
            ProblemKind::ALL.iter().map(|kind| kind.status().as_u16()).collect();
        assert!(statuses.iter().all(|status| (400..600).contains(status)));
        assert!(statuses.is_sorted());
    }
}
