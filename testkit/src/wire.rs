//! A wire between a service and PostgreSQL, that a test can tamper with.
//!
//! It takes protections away that the service itself has no switch for: a negative control is the real
//! program on a real server, with something left out of what it says.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What a service says to keep others from its rows.
const LOCK: &[u8] = b" FOR UPDATE";
/// As many bytes that say nothing.
const NOTHING: &[u8] = b"           ";

/// A wire to a server. It is there for as long as the process.
pub struct Wire {
    port: u16,
    locks_removed: Arc<AtomicUsize>,
}

impl Wire {
    /// A wire to a port of loopback, on which no row is locked by whoever reads it.
    pub fn without_row_locks(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("it listens").port();
        let locks_removed = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&locks_removed);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let counter = Arc::clone(&counter);
                thread::spawn(move || connect(&client, &server, &counter));
            }
        });
        Self { port, locks_removed }
    }

    /// The port that a service connects to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many statements have lost their lock.
    pub fn locks_removed(&self) -> usize {
        self.locks_removed.load(Ordering::Relaxed)
    }
}

/// Passes on what is said in both directions, until one side hangs up.
fn connect(client: &TcpStream, server: &TcpStream, locks_removed: &AtomicUsize) {
    let (Ok(mut from_server), Ok(mut to_client)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    let answers = thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = pass_on(client, server, locks_removed);
    let _ = server.shutdown(Shutdown::Both);
    let _ = answers.join();
}

/// Passes on whole messages: a byte that says what kind it is, but for the first of a connection;
/// the length of the rest, itself included; the rest.
fn pass_on(
    mut client: &TcpStream,
    mut server: &TcpStream,
    locks_removed: &AtomicUsize,
) -> io::Result<()> {
    let mut is_first = true;
    loop {
        let head = if is_first { 4 } else { 5 };
        is_first = false;
        let mut message = vec![0; head];
        client.read_exact(&mut message)?;
        let length = u32::from_be_bytes(message[head - 4..].try_into().expect("four bytes"));
        message.resize(head - 4 + length as usize, 0);
        client.read_exact(&mut message[head..])?;
        while let Some(place) = message.windows(LOCK.len()).position(|part| part == LOCK) {
            message[place..place + LOCK.len()].copy_from_slice(NOTHING);
            locks_removed.fetch_add(1, Ordering::Relaxed);
        }
        server.write_all(&message)?;
    }
}
