//! Clients that are never idle, while something happens to the server behind the service.

use std::sync::atomic::Ordering;
use std::thread;

use eventbooker_testkit::SeededEntropy;
use eventbooker_testkit::attendee::{Attendee, Clients, Event, Round};
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};

const ATTENDEES: usize = 8;
/// Answers before something happens, and when it is over.
const ENOUGH: usize = 100;

/// The real program, and its clients.
pub(crate) struct Load {
    pub(crate) installation: Installation,
    pub(crate) server: Server,
    pub(crate) events: Vec<Event>,
    attendees: Vec<Attendee>,
}

impl Load {
    /// A service on the database at this URL.
    pub(crate) fn on(url: String) -> Self {
        let database = Database::on_server(url);
        let installation = Installation::on(env!("CARGO_BIN_EXE_eventbooker"), database);
        installation.add_user("admin", "admin");
        let server = installation.serve(&UNLIMITED);
        let admin = server.client_of("admin");
        let events = [(30, 7), (100_000, 3), (100_000, 0)];
        let events = events
            .map(|(seats, price)| Event { id: admin.create_event(seats, price, 600), price })
            .to_vec();
        let entropy = SeededEntropy::new(1);
        let attendee = |number: usize| {
            let login = format!("user-{number}");
            let _ = server.client().registered(&login);
            Attendee::new(&server, &login, entropy.draw())
        };
        let mut attendees: Vec<_> = (0..ATTENDEES).map(attendee).collect();
        // Some can go on whatever happens.
        attendees.iter_mut().step_by(2).for_each(|attendee| attendee.has_keys = true);
        Self { installation, server, events, attendees }
    }

    /// Lets something happen under load. Returns how many requests were turned away.
    pub(crate) fn go_through(&mut self, what: &str, happen: impl FnOnce(&Round)) -> usize {
        let Self { installation, server, events, attendees } = self;
        let round = Round::default();
        let database = installation.database();
        let clients: Vec<Clients> = attendees.iter().map(|one| one.clients(server)).collect();
        let turned_away = |attendees: &[Attendee]| -> usize {
            attendees.iter().map(|attendee| attendee.tally.turned_away).sum()
        };
        let before = turned_away(attendees);
        thread::scope(|scope| {
            for (attendee, clients) in attendees.iter_mut().zip(&clients) {
                let (events, round) = (&*events, &round);
                scope.spawn(move || attendee.work_through(clients, events, round));
            }
            let _ending = Ending(&round);
            round.until_answered(ENOUGH);
            happen(&round);
            round.is_back.store(true, Ordering::SeqCst);
            assert_eq!(server.client().get("/ready").status, 200, "{what}");
            round.until_answered(ENOUGH);
        });
        for attendee in &mut *attendees {
            let rows = attendee.rows(database);
            attendee.settle(&attendee.clients(server), &rows);
            assert_eq!(attendee.rows(database), attendee.known, "{what}");
        }
        installation.check();
        turned_away(attendees) - before
    }

    /// Ends the service in good order.
    pub(crate) fn finish(self) {
        for attendee in &self.attendees {
            println!("{:?}", attendee.tally);
        }
        self.server.terminate();
        self.installation.check();
    }
}

/// Ends a round, also if a test fails in it.
struct Ending<'round>(&'round Round);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}
