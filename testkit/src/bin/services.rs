//! `services PROGRAM [PORT]`: the four services behind nginx on loopback, as a demo, until Ctrl-C.

use std::io::{Error, Write as _, stdout};

use eventbooker_core::Context;
use eventbooker_testkit::services::Services;
use tokio::signal::unix::{SignalKind, signal};

const PORT: u16 = 8080;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let usage = || Error::other("usage: services PROGRAM [PORT]");
    let program = arguments.next().ok_or_else(usage)?;
    let port = match arguments.next() {
        Some(port) => port.parse().map_err(|_| usage())?,
        None => PORT,
    };
    // Before anything is started, so that nothing is left behind.
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let program = std::path::absolute(program)?;
    let program = program.to_str().ok_or_else(usage)?.to_owned();
    let start = move || Services::start_on(&program, &["--demo"], Some(port));
    let services = tokio::task::spawn_blocking(start).await?;
    let mut out = stdout();
    writeln!(out, "http://{}", services.proxy().address())?;
    for context in Context::ALL {
        let (base, internal) = (services.server(context).base(), services.internal(context));
        writeln!(out, "  {context}: {base}, for the other services http://{internal}")?;
    }
    writeln!(out, "sign in as admin or user, both with the password `password`; Ctrl-C ends it")?;
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    tokio::task::spawn_blocking(move || services.stop()).await?;
    Ok(())
}
