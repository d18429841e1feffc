//! Databases that aren't what they were: restored from a back-up, or others. Each is noticed before anything
//! is built on it, and goes on when an operator says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::bookings::State;
use eventbooker_core::events::Draft;
use eventbooker_core::{BookingId, Context, EventId, Money, UserId};
use eventbooker_engine::{
    Accepted, Clock, Error, Estranged, Refusal, SystemClock, accept_loss, accept_neighbour,
};
use eventbooker_store::{Access, GENERATION};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::service::ADMIN;
use eventbooker_testkit::{Failure, outcome};
use rusqlite::Connection;

use super::side::{Four, Side};

const BOOK: Context = Context::Bookings;
const EVENTS: Context = Context::Events;
const ACCOUNT: Context = Context::Accounts;

/// A shop with one event, and a user with much money.
struct Shop {
    four: Four,
    event: EventId,
    user: UserId,
    backups: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let four = Four::embedded(Arc::new(SystemClock::default())).await;
        let event = create_event(&four).await.unwrap();
        four.add_users([1]).await;
        let user = UserId::new(1);
        let paid_in = four.engine(ACCOUNT).deposit(ADMIN, user, Money::from_minor(100_000), None);
        outcome(paid_in.await).unwrap();
        Self { four, event, user, backups: tempfile::tempdir().unwrap() }
    }

    /// Buys a seat, all the way to the end.
    async fn buy(&self) -> BookingId {
        let bought = self.four.engine(BOOK).purchase(self.user, self.event, 1, None).await;
        let id = outcome(bought).unwrap().booking.id;
        self.until("it is complete", async || self.state(id).await == Some(State::Complete)).await;
        id
    }

    /// Buys a seat, and doesn't wait for what comes of it.
    fn buy_in_vain(&self) {
        let (book, user, event) = (self.four.engine(BOOK).clone(), self.user, self.event);
        tokio::spawn(async move { book.purchase(user, event, 1, None).await });
    }

    async fn state(&self, id: BookingId) -> Option<State> {
        let found = self.four.engine(BOOK).store().bookings(vec![id]).await.unwrap();
        found.first().map(|booking| booking.state)
    }

    /// A back-up of a service's database as it is.
    fn back_up(&self, of: Context) -> PathBuf {
        let file = self.backups.path().join(format!("{of}.db"));
        let conn = Connection::open(self.four.side(of).database.file()).unwrap();
        conn.execute_batch(&format!("VACUUM INTO '{}'", file.display())).unwrap();
        file
    }

    async fn restore(&mut self, of: Context, backup: &Path) {
        self.four.restart(of, |_| put_back(backup)).await;
    }

    fn has_lost(&self, of: Context) -> bool {
        self.four.engine(of).estranged().has_lost
    }

    /// Whether a service doesn't call another any more.
    fn shuns(&self, of: Context, neighbour: Context) -> bool {
        self.four.engine(of).estranged().neighbours.has(neighbour)
    }

    fn knows_of_nothing(&self) -> bool {
        Context::ALL.iter().all(|of| {
            let estranged = self.four.engine(*of).estranged();
            !estranged.has_lost && Context::ALL.iter().all(|it| !estranged.neighbours.has(*it))
        })
    }

    async fn accept_loss(&self, of: Context) -> Accepted {
        let noted = "SELECT count(*) FROM neighbours WHERE saw IS NOT NULL";
        let is_noted = async || !self.has_lost(of) || self.count(of, noted) > 0;
        self.until("it is noted", is_noted).await;
        let store = self.four.side(of).database.open(Access::Tool).await.unwrap();
        accept_loss(&*store).await.unwrap()
    }

    /// Lets time pass until something is so.
    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let so = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, so).await.expect(what);
    }

    fn count(&self, of: Context, query: &str) -> i64 {
        self.four.side(of).database.number(query)
    }
}

/// A database as it was when the back-up was made. Whoever still has the other one open isn't disturbed.
fn put_back(backup: &Path) -> Database {
    let database = Database::embedded();
    std::fs::copy(backup, database.file()).unwrap();
    database
}

async fn create_event(four: &Four) -> Result<EventId, Error> {
    let draft = Draft {
        name: "Green run".to_owned(),
        description: String::new(),
        starts_at: None,
        capacity: 100,
        price_minor: 40,
        payment_window_minutes: 30,
    };
    let created = four.engine(EVENTS).create_event(ADMIN, draft, None).await?;
    Ok(outcome(Ok(created)).unwrap().id)
}

/// The participants, each restored while the bookings went on: refused at the first call, with nothing
/// done; and after the operator's word all goes on.
#[tokio::test]
async fn a_participant_that_was_restored_does_nothing_until_it_is_accepted() {
    for of in [EVENTS, ACCOUNT] {
        let mut shop = Shop::open().await;
        shop.buy().await;
        let backup = shop.back_up(of);
        shop.buy().await;
        assert!(shop.knows_of_nothing());
        shop.restore(of, &backup).await;
        let rows = shop.four.side(of).rows();

        shop.buy_in_vain();
        shop.until("it is noticed", async || shop.has_lost(of) && shop.shuns(BOOK, of)).await;
        assert_eq!(shop.four.side(of).rows(), rows, "{of}: nothing was done");
        if of == EVENTS {
            assert_eq!(create_event(&shop.four).await, Err(Error::LostState));
        }
        assert!(!shop.has_lost(BOOK));

        // Nor does it go on by itself, or after a start.
        shop.four.restart(of, |database| database).await;
        assert!(shop.has_lost(of));
        shop.four.restart(BOOK, |database| database).await;
        shop.until("it is noticed again", async || shop.shuns(BOOK, of)).await;
        assert_eq!(shop.four.side(of).rows(), rows, "{of}: still nothing was done");

        let Accepted::GoesOn { missed_by, .. } = shop.accept_loss(of).await else { panic!() };
        assert_eq!(missed_by.iter().map(|by| by.service).collect::<Vec<_>>(), [BOOK]);
        shop.until("all know", async || shop.knows_of_nothing()).await;
        shop.until("the saga ends", async || {
            shop.state(BookingId::new(3)).await == Some(State::Complete)
        })
        .await;
        shop.four.stop().await;
    }
}

/// Bookings' numbers that were given out, and lost with their rows, aren't given out once more.
#[tokio::test]
async fn bookings_that_were_restored_give_no_number_twice() {
    let mut shop = Shop::open().await;
    shop.buy().await;
    let backup = shop.back_up(BOOK);
    shop.buy().await;
    shop.buy().await;
    let [events, account] = [EVENTS, ACCOUNT].map(|of| shop.four.side(of).rows());
    shop.restore(BOOK, &backup).await;
    let greeted = shop.four.greet(BOOK, EVENTS).await;
    assert!(greeted.is_err(), "{greeted:?}");
    shop.until("it is noticed", async || shop.has_lost(BOOK)).await;
    let bought = shop.four.engine(BOOK).purchase(shop.user, shop.event, 1, None).await;
    assert!(matches!(bought, Err(Error::LostState)));
    assert!(!shop.has_lost(EVENTS) && !shop.has_lost(ACCOUNT));
    assert_eq!([EVENTS, ACCOUNT].map(|of| shop.four.side(of).rows()), [events, account]);
    let Accepted::GoesOn { last_ids, .. } = shop.accept_loss(BOOK).await else { panic!() };
    assert_eq!(last_ids.booking, Some(3));
    shop.until("it goes on", async || !shop.has_lost(BOOK)).await;
    assert_eq!(shop.buy().await, BookingId::new(4));
    assert!(shop.knows_of_nothing());
    shop.four.stop().await;
}

/// A database that went on after it was restored, until it had come further than anybody had seen it
/// before: what it has heard of its neighbour tells.
#[tokio::test]
async fn a_loss_is_noticed_however_far_a_database_has_gone_on_since() {
    let mut shop = Shop::open().await;
    shop.buy().await;
    let backup = shop.back_up(EVENTS);
    let knows = "SELECT count(*) FROM neighbours WHERE service = 'book' AND number > ";
    let before = shop.count(EVENTS, "SELECT coalesce(max(number), 0) FROM neighbours");
    shop.buy().await;
    let kept = format!("{knows}{before}");
    shop.until("that is kept", async || shop.count(EVENTS, &kept) == 1).await;
    let seen = shop.count(EVENTS, "SELECT number FROM progress");
    // So book is told of it, and keeps that.
    let heard =
        format!("SELECT count(*) FROM neighbours WHERE service = 'events' AND heard > {before}");
    shop.buy().await;
    shop.until("that is told", async || shop.count(BOOK, &heard) == 1).await;
    let seen = seen.max(shop.count(EVENTS, "SELECT number FROM progress"));
    shop.four
        .restart(EVENTS, |_| {
            let database = put_back(&backup);
            database.change(&format!("UPDATE progress SET number = {}", seen + 9));
            database
        })
        .await;
    let greeted = shop.four.greet(BOOK, EVENTS).await;
    assert!(greeted.is_err(), "{greeted:?}");
    shop.until("it is noticed", async || shop.has_lost(EVENTS)).await;
    assert!(matches!(shop.accept_loss(EVENTS).await, Accepted::GoesOn { .. }));
    shop.until("all know", async || {
        let _ = shop.four.greet(BOOK, EVENTS).await;
        shop.knows_of_nothing()
    })
    .await;
    assert!(shop.count(EVENTS, "SELECT number FROM progress") >= GENERATION);
    shop.buy().await;
    shop.four.stop().await;
}

/// Behind the address is another database: an empty one, or some other shop's.
#[tokio::test]
async fn another_database_is_not_taken_for_the_one_that_was_there() {
    for of in [EVENTS, ACCOUNT] {
        let mut shop = Shop::open().await;
        shop.buy().await;
        let mut right = None;
        shop.four
            .restart(of, |database| {
                right = Some(database);
                Database::embedded()
            })
            .await;
        let rows = shop.four.side(of).rows();
        shop.buy_in_vain();
        shop.until("it is noticed", async || shop.shuns(BOOK, of)).await;
        assert_eq!(shop.four.side(of).rows(), rows, "{of}: nothing was done");
        if of == EVENTS {
            // Nothing is begun that would wait for an operator.
            let bought = shop.four.engine(BOOK).purchase(shop.user, shop.event, 1, None).await;
            let refused = outcome(bought).map(drop);
            assert!(matches!(refused, Err(Failure::Refused(Refusal::Away { .. }))), "{refused:?}");
        }
        // The right one again: nothing is lost, and nobody needs to say anything.
        shop.four.restart(of, |_| right.take().unwrap()).await;
        shop.until("it goes on", async || {
            let _ = shop.four.greet(BOOK, of).await;
            shop.knows_of_nothing()
        })
        .await;
        shop.buy().await;

        // Or the other one is meant.
        let mut former = None;
        shop.four
            .restart(of, |database| {
                former = Some(database);
                Database::embedded()
            })
            .await;
        let book = shop.four.side(BOOK).database.open(Access::Tool).await.unwrap();
        assert_eq!(accept_neighbour(&*book, of).await, Ok(Accepted::Nothing));
        assert!(shop.four.greet(BOOK, of).await.is_err());
        let found = "SELECT count(*) FROM neighbours WHERE found IS NOT NULL";
        shop.until("it is noted", async || shop.count(BOOK, found) == 1).await;
        let accepted = accept_neighbour(&*book, of).await;
        assert!(matches!(accepted, Ok(Accepted::Another { .. })), "{accepted:?}");
        shop.until("it goes on", async || !shop.shuns(BOOK, of)).await;
        shop.four.greet(BOOK, of).await.unwrap();

        // By now the former one is another one. What it was told takes nobody along.
        if of == EVENTS {
            shop.four.restart(of, |_| former.take().unwrap()).await;
            assert!(shop.four.greet(of, BOOK).await.is_err());
            assert!(!shop.has_lost(BOOK));
        }
        shop.four.stop().await;
    }
}

/// Starts, purges and a neighbour that comes back late say nothing of lost state.
#[tokio::test]
async fn what_is_as_it_was_is_not_told_of() {
    let mut shop = Shop::open().await;
    for of in [BOOK, EVENTS, ACCOUNT, BOOK] {
        shop.buy().await;
        shop.four.restart(of, |database| database).await;
    }
    shop.four
        .restart(EVENTS, |database| {
            assert!(database.change("DELETE FROM memories") > 0);
            database
        })
        .await;
    shop.buy().await;
    for (from, to) in [(BOOK, EVENTS), (BOOK, ACCOUNT), (EVENTS, BOOK)] {
        shop.four.greet(from, to).await.unwrap();
    }
    assert!(shop.knows_of_nothing());
    for of in Context::ALL {
        assert_eq!(shop.accept_loss(of).await, Accepted::Nothing);
    }
    shop.four.stop().await;
}

/// Replicas know of each other's doings a little late, and call in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_not_taken_for_one_that_was_restored() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let four = Four::on_server(Arc::clone(&clock)).await;
    let event = create_event(&four).await.unwrap();
    four.add_users([1]).await;
    let user = UserId::new(1);
    let paid_in = four.engine(ACCOUNT).deposit(ADMIN, user, Money::from_minor(100_000), None);
    outcome(paid_in.await).unwrap();
    let replica = Side::beside(four.side(BOOK), BOOK, four.addresses, &clock).await;
    let books = [four.engine(BOOK).clone(), replica.engine.clone()];
    let bought = (0..80).map(|number: usize| {
        let book = books[number % 2].clone();
        tokio::spawn(async move { book.purchase(user, event, 1, None).await })
    });
    for bought in bought.collect::<Vec<_>>() {
        outcome(bought.await.unwrap()).unwrap();
    }
    for _ in 0..20 {
        for them in [&four.side(BOOK).acquaintances, &replica.acquaintances] {
            // As if it had just been started: it is compared with what the other one has done.
            let line = four.client(BOOK, EVENTS).acquainted(Arc::clone(them));
            line.greet().await.unwrap();
        }
        outcome(books[0].purchase(user, event, 1, None).await).unwrap();
    }
    for engine in books.iter().chain([four.engine(EVENTS), four.engine(ACCOUNT)]) {
        assert_eq!(engine.estranged(), Estranged::default());
    }
    replica.stop().await;
    four.stop().await;
}
