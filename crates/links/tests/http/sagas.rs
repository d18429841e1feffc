//! Whole sagas: the bookings are here, the seats and the money each behind HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::Draft;
use eventbooker_core::{BookingId, Context, EventId, Money, UserId};
use eventbooker_engine::{Engine, SystemClock};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::outcome;
use eventbooker_testkit::service::{ADMIN, attendee};
use http_body_util::BodyExt as _;

use super::side::Four;

/// What happens to calls on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// They don't arrive.
    Lost,
    /// They take effect, and nobody hears the answer.
    Unheard,
    /// They arrive twice, one after the other.
    Twice,
    /// They take effect, and the answer is rubbish.
    Garbled,
}

impl Fault {
    const ALL: [Self; 5] = [Self::None, Self::Lost, Self::Unheard, Self::Twice, Self::Garbled];
}

/// The first calls to some route meet a fault.
#[derive(Clone)]
struct Weather {
    fault: Fault,
    route: &'static str,
    left: Arc<AtomicUsize>,
}

impl Weather {
    fn of(fault: Fault, route: &'static str, calls: usize) -> Self {
        Self { fault, route, left: Arc::new(AtomicUsize::new(calls)) }
    }

    fn around(self, routes: Router) -> Router {
        routes.layer(middleware::from_fn(move |request: Request, next: Next| {
            let weather = self.clone();
            async move { weather.pass(request, next).await }
        }))
    }

    async fn pass(self, request: Request, next: Next) -> Response {
        let take = |left: usize| left.checked_sub(1);
        if !request.uri().path().ends_with(self.route)
            || self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err()
        {
            return next.run(request).await;
        }
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let again = || Request::from_parts(head.clone(), Body::from(bytes.clone()));
        match self.fault {
            Fault::None => next.run(again()).await,
            Fault::Lost => StatusCode::BAD_GATEWAY.into_response(),
            Fault::Unheard => {
                assert_eq!(next.run(again()).await.status(), StatusCode::OK);
                StatusCode::GATEWAY_TIMEOUT.into_response()
            }
            Fault::Twice => {
                let first = next.clone().run(again()).await.into_body().collect().await.unwrap();
                let second = next.run(again()).await.into_body().collect().await.unwrap();
                let (first, second) = (first.to_bytes(), second.to_bytes());
                assert_eq!(first, second, "a participant says the same again");
                second.into_response()
            }
            Fault::Garbled => {
                assert_eq!(next.run(again()).await.status(), StatusCode::OK);
                "{\"results\":[".into_response()
            }
        }
    }
}

struct Shop {
    four: Four,
    event: EventId,
    user: UserId,
}

impl Shop {
    /// An event of three seats at 40 each, and a user with 100.
    async fn open(weather: &Weather) -> Self {
        let clock = Arc::new(SystemClock::default());
        let four = Four::start(clock, |routes| weather.clone().around(routes)).await;
        let draft = Draft {
            name: "Green run".to_owned(),
            description: String::new(),
            starts_at: None,
            capacity: 3,
            price_minor: 40,
            payment_window_minutes: 30,
        };
        let events = four.engine(Context::Events);
        let event = outcome(events.create_event(ADMIN, draft, None).await).unwrap().id;
        four.add_users([1]).await;
        let user = UserId::new(1);
        let account = four.engine(Context::Accounts);
        let paid_in = account.deposit(ADMIN, user, Money::from_minor(100), None).await;
        outcome(paid_in).unwrap();
        Self { four, event, user }
    }

    fn book(&self) -> &Engine {
        self.four.engine(Context::Bookings)
    }

    async fn free_seats(&self) -> u32 {
        let event = self.four.engine(Context::Events).store().event(self.event).await.unwrap();
        event.unwrap().free_seats().get()
    }

    async fn balance(&self) -> i64 {
        self.four.engine(Context::Accounts).account(self.user).await.unwrap().balance.as_minor()
    }

    async fn booking(&self, id: BookingId) -> Option<Booking> {
        self.book().store().bookings(vec![id]).await.unwrap().first().copied()
    }

    /// Waits until a booking stands where it should, with nothing more to ask.
    async fn until(&self, id: BookingId, state: State) {
        let rested = async {
            loop {
                let stands = self.booking(id).await.map(|booking| booking.state);
                let errands = self.book().store().errands(BookingId::new(0), 9).await.unwrap();
                if stands == Some(state) && errands.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let rested = tokio::time::timeout(PATIENCE, rested).await;
        assert!(rested.is_ok(), "{:?} isn't {state}", self.booking(id).await);
    }

    async fn stop(self) {
        self.four.stop().await;
    }
}

#[tokio::test]
async fn sagas_end_over_http_whatever_happens_to_calls() {
    for fault in Fault::ALL {
        let shop = Shop::open(&Weather::of(fault, "/steps", 2)).await;
        // Seats, money, done.
        let bought = shop.book().purchase(shop.user, shop.event, 2, None).await;
        let id = outcome(bought).unwrap_or_else(|why| panic!("{fault:?}: {why:?}")).booking.id;
        shop.until(id, State::Complete).await;
        assert_eq!((shop.free_seats().await, shop.balance().await), (1, 20), "{fault:?}");
        // And back again.
        let cancelled = shop.book().cancel(attendee(1), id, None).await;
        outcome(cancelled).unwrap_or_else(|why| panic!("{fault:?}: {why:?}"));
        shop.until(id, State::Cancelled).await;
        assert_eq!((shop.free_seats().await, shop.balance().await), (3, 100), "{fault:?}");
        let postings = shop.four.engine(Context::Accounts).store().postings_for(id).await.unwrap();
        assert_eq!(postings.len(), 2, "{fault:?}: charged once and refunded once");
        shop.stop().await;
    }
}

#[tokio::test]
async fn a_refusal_comes_back_with_its_reason() {
    let shop = Shop::open(&Weather::of(Fault::Unheard, "/steps", 1)).await;
    let table = [(4, "only 3 seats are left"), (3, "100 is too little to pay 120")];
    for (booking, (seats, reason)) in (1..).zip(table) {
        // Whether the client hears of it is up to whoever waits for the saga, not to the network.
        let _ = shop.book().purchase(shop.user, shop.event, seats, None).await;
        let id = BookingId::new(booking);
        shop.until(id, State::Cancelled).await;
        let steps = shop.book().store().saga_steps(id).await.unwrap();
        let answers: Vec<String> = steps.into_iter().map(|step| step.answered).collect();
        assert!(answers.iter().any(|answer| answer.contains(reason)), "{answers:?}");
    }
    assert_eq!((shop.free_seats().await, shop.balance().await), (3, 100));
    shop.stop().await;
}

#[tokio::test]
async fn bookings_of_a_cancelled_event_are_released_whatever_happens_to_the_word() {
    for fault in [Fault::Lost, Fault::Unheard] {
        let shop = Shop::open(&Weather::of(fault, "/notices", 1)).await;
        let bought = shop.book().purchase(shop.user, shop.event, 2, None).await;
        let id = outcome(bought).unwrap().booking.id;
        shop.until(id, State::Complete).await;
        let events = shop.four.engine(Context::Events);
        outcome(events.cancel_event(ADMIN, shop.event, None).await).unwrap();
        shop.until(id, State::Cancelled).await;
        let event = events.store().event(shop.event).await.unwrap().unwrap();
        assert!(event.cancellation.is_some_and(|it| !it.is_releasing), "it has none left");
        assert_eq!((event.tally.bookings(), shop.balance().await), (0, 100), "{fault:?}");
        shop.four.stop().await;
    }
}
