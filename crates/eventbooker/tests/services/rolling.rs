//! The four services are replaced one after the other, as an upgrade does.

use eventbooker_core::Context;
use eventbooker_testkit::sale::{Crowd, Sale, UNLIMITED};
use eventbooker_testkit::services::Services;

const CUSTOMERS: usize = 8;
/// Answers in a row between two restarts.
const ENOUGH: usize = 100;

/// Nobody hears anything but an answer, or when to come again.
#[test]
fn all_of_them_are_replaced_under_load() {
    let mut services = Services::start(env!("CARGO_BIN_EXE_eventbooker"), &UNLIMITED);
    services.add_user("admin", "admin");
    let mut crowd = Crowd::of(&services, CUSTOMERS);
    let sale = Sale::default();
    crowd.work_while(&sale, || {
        for context in Context::ALL {
            sale.until_calm(ENOUGH);
            sale.begin_turn();
            let server = services.take(context);
            server.begin_stop();
            let log = server.stopped();
            assert!(!log.contains("cut off"), "{context}: {log}");
            // One process for each database: until it is back somebody has to wait.
            sale.until_noticed();
            services.serve(context);
            println!("{context}: {} felt it", sale.felt());
        }
        sale.until_calm(ENOUGH);
    });
    println!("{:?}", sale.counts());
    let again = crowd.settle(&services);
    println!("{again} answers were given again");
    let ran = services.recount();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    services.stop();
}
