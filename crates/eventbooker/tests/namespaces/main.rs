//! The four services, each on a machine of its own as far as the network goes: killed, stopped, cut off
//! from each other for longer than any lease and any call lasts, all under load. What was answered is
//! so, the same key gets the same answer, every saga ends, the three databases agree, and nobody is
//! ever told of a bug.
//!
//! A fault lasts for as long as it has to be longer than something else, and nothing goes on before
//! somebody has noticed it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::thread;
use std::time::{Duration, Instant};

use eventbooker_core::Context;
use eventbooker_testkit::network::{Cable, Network, runs_within};
use eventbooker_testkit::sale::{Crowd, Sale, UNLIMITED};
use eventbooker_testkit::services::Services;

const CUSTOMERS: usize = 16;
/// Answers in a row before each fault.
const ENOUGH: usize = 40;
/// Longer than a lease (10 s), a call (4 s), and any wait of a circuit (5 s and a quarter).
const LONG: Duration = Duration::from_secs(11);
/// Longer than the proxy waits for auth (5 s), without which it doesn't ask anybody else.
const LONG_FOR_AUTH: Duration = Duration::from_secs(7);

const MOMENT: Duration = Duration::from_millis(20);

/// What is done to them, one after the other.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill(Context),
    Pause(Context),
    /// Cuts some off from the others by these cables.
    Cut(&'static [(Context, Cable)]),
}

const FAULTS: [Fault; 11] = [
    Fault::Kill(Context::Identity),
    Fault::Kill(Context::Events),
    Fault::Kill(Context::Accounts),
    Fault::Kill(Context::Bookings),
    Fault::Pause(Context::Identity),
    Fault::Pause(Context::Events),
    Fault::Pause(Context::Accounts),
    Fault::Pause(Context::Bookings),
    // Events from book.
    Fault::Cut(&[(Context::Events, Cable::Internal)]),
    // Account from book, and auth from everybody but the proxy.
    Fault::Cut(&[(Context::Accounts, Cable::Internal), (Context::Identity, Cable::Internal)]),
    // Book from everybody, the proxy included.
    Fault::Cut(&[(Context::Bookings, Cable::Internal), (Context::Bookings, Cable::Public)]),
];

impl Fault {
    /// Lets it begin, last, and end.
    fn happen(self, services: &mut Services, sale: &Sale) {
        match self {
            Self::Kill(context) => {
                services.take(context).kill();
                sale.until_noticed();
                services.serve(context);
            }
            Self::Pause(context) => {
                services.server(context).pause();
                pass(if context == Context::Identity { LONG_FOR_AUTH } else { LONG });
                services.server(context).resume();
            }
            Self::Cut(cables) => {
                for (context, cable) in cables {
                    services.machine(*context).unplug(*cable);
                }
                pass(LONG);
                for (context, cable) in cables {
                    services.machine(*context).plug_in(*cable);
                }
            }
        }
    }
}

/// Lets so much time pass while the machine is awake: one that stands still leaves a fault no time.
fn pass(time: Duration) {
    for _ in 0..time.as_millis() / MOMENT.as_millis() {
        thread::sleep(MOMENT);
    }
}

#[test]
fn faults_of_real_processes_take_nothing_along() {
    if !runs_within("faults_of_real_processes_take_nothing_along") {
        return;
    }
    let begun = Instant::now();
    let mut network = Network::lay();
    let program = env!("CARGO_BIN_EXE_eventbooker");
    let mut services = Services::start_in(&mut network, program, &UNLIMITED);
    services.add_user("admin", "admin");
    let mut crowd = Crowd::of(&services, CUSTOMERS);
    let sale = Sale::default();
    crowd.work_while(&sale, || {
        for fault in FAULTS {
            sale.until_calm(ENOUGH);
            sale.begin_turn();
            fault.happen(&mut services, &sale);
            // Whoever has waited for it hears that it was too long, at the latest when it is over.
            sale.until_noticed();
            let (count, seconds) = (sale.felt(), begun.elapsed().as_secs());
            println!("{seconds} s: {count} felt {fault:?}");
        }
        sale.until_calm(ENOUGH);
    });
    println!("{:?}", sale.counts());
    let again = crowd.settle(&services);
    println!("{} s: {again} answers were given again", begun.elapsed().as_secs());
    let ran = services.recount();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    print!("{}", ran.stdout);

    // What is lost would have been missed.
    let lost = "DELETE FROM bookings
        WHERE id = (SELECT max(id) FROM bookings WHERE state = 4 AND amount > 0)";
    assert_eq!(services.change(Context::Bookings, lost), 1);
    assert_eq!(crowd.complaints(&services).len(), 2, "a booking and its money");
    assert_eq!(services.recount().code, Some(1));
    services.stop();
}
