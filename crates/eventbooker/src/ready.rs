//! `eventbooker ready`: asks the service on this machine whether it takes traffic, for supervisors that
//! run a command, in places where there is no other program that speaks HTTP.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::say::say;
use crate::settings::ListenFlags;

/// Longer than the service gives its database.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than it says.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(crate) async fn run(flags: ListenFlags) -> Result<(), String> {
    let address = reachable(flags.resolve()?);
    let asked = tokio::task::spawn_blocking(move || ask(address)).await;
    let answer = asked
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("{address} doesn't answer: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200 ") { say(body) } else { Err(format!("not ready: {body}")) }
}

/// A service that listens on all addresses is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
