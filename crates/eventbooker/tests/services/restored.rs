//! A service that was restored from a back-up while the others went on.

use eventbooker_core::Context;
use eventbooker_testkit::services::Services;

use super::{services, until};

fn neighbour(services: &Services, words: &[&str], of: Context) -> (Option<i32>, String) {
    let database = format!("sqlite:{of}.db");
    let ran = services.run(&[&["neighbour"], words, &["--database", &database]].concat());
    (ran.code, ran.stdout + &ran.stderr)
}

/// Stops a service, does that to the file of its database, and starts it.
fn restart(services: &mut Services, of: Context, meanwhile: impl FnOnce(&std::path::Path)) {
    services.take(of).terminate();
    meanwhile(&services.directory().join(format!("{of}.db")));
    services.serve(of);
}

#[test]
fn a_restored_service_waits_for_its_operator() {
    let mut services = services();
    let admin = services.client_of("admin");
    let user = services.client().registered("ann");
    let event = admin.create_event(1_000, 1, 30);
    admin.deposit_for(user.get("/auth").id(), 500);
    assert_eq!(user.purchase(event, 1).json()["status"], 4);
    for of in [Context::Accounts, Context::Bookings] {
        let backup = services.directory().join("back-up.db");
        restart(&mut services, of, |file| {
            std::fs::copy(file, &backup).unwrap();
        });
        assert_eq!(neighbour(&services, &["go-on"], of).0, Some(1), "nothing is missing");
        let mut last = 0;
        until("it sells again", || {
            let bought = user.purchase(event, 1);
            last = if bought.status == 200 { bought.id() } else { 0 };
            last > 0
        });
        restart(&mut services, of, |file| {
            std::fs::copy(&backup, file).unwrap();
        });
        let server = services.server(of);
        let ready = || {
            let ready = server.client().get("/ready");
            assert_eq!(ready.status, 200, "whatever is missing");
            ready.json()
        };
        until("it says so", || ready()["lost_state"]["own"] == true);
        server.wait_until_logged("has been restored from a back-up");
        let refused = user.purchase(event, 1);
        assert!(matches!(refused.status, 202 | 503), "{refused:?}");
        let (code, told) = neighbour(&services, &["list"], of);
        assert!(code == Some(0) && told.contains("had seen this one come to"), "{told}");
        assert_eq!(services.recount().code, Some(1), "and check says what is missing");
        let (code, told) = neighbour(&services, &["go-on"], of);
        assert!(code == Some(0) && told.contains("goes on from where it is"), "{told}");
        until("all goes on", || {
            let bought = user.purchase(event, 1);
            bought.status == 200 && bought.json()["status"] == 4 && bought.id() > last
        });
        until("it says nothing more", || ready().get("lost_state").is_none());
    }
    services.stop();
}
