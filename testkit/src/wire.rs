//! A wire between a service and PostgreSQL, that a test can tamper with.
//!
//! It takes protections away that the service itself has no switch for: a negative control is the real
//! program on a real server, with something left out of what it says. And it breaks or holds at the
//! moment that a test is about, which no signal to a process would hit but by luck.
//!
//! What is said has to be said in the clear.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::clock::PATIENCE;

/// When the wire breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The server has heard the changes, and not that they are to be committed.
    BeforeCommit,
    /// The server has committed, and nobody has heard of it.
    AfterCommit,
}

/// Other words for something, as many bytes.
struct Swap {
    said: &'static [u8],
    heard: &'static [u8],
}

/// A wire to a server. It is there for as long as the process.
pub struct Wire {
    port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    server: u16,
    swap: Option<Swap>,
    swaps: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    break_at: Option<Break>,
    is_broken: bool,
    breaks: usize,
    hold: Hold,
    /// All streams that were ever open, to end them.
    streams: Vec<TcpStream>,
}

struct Break {
    moment: Moment,
    for_good: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Hold {
    #[default]
    Nothing,
    /// The answers to whoever begins a transaction next.
    Next,
    /// It has begun.
    Now,
}

impl Wire {
    /// A wire to a port of loopback.
    pub fn to(server: u16) -> Self {
        Self::with(server, None)
    }

    /// The same, on which no row is locked by whoever reads it.
    pub fn without_row_locks(server: u16) -> Self {
        Self::with(server, Some(Swap { said: b" FOR UPDATE", heard: b"           " }))
    }

    /// The same, on which a transaction may idle for 2 s instead of 10.
    pub fn with_short_patience(server: u16) -> Self {
        let said = b"idle_in_transaction_session_timeout = '10s'";
        Self::with(
            server,
            Some(Swap { said, heard: b"idle_in_transaction_session_timeout =  '2s'" }),
        )
    }

    fn with(server: u16, swap: Option<Swap>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("it listens").port();
        let inner = Arc::new(Inner {
            server,
            swap,
            swaps: AtomicUsize::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let wire = Self { port, inner: Arc::clone(&inner) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(connection) = Connection::open(&inner, client) else { continue };
                thread::spawn(move || connection.run());
            }
        });
        wire
    }

    /// The port that a service connects to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often something else was heard than said.
    pub fn swaps(&self) -> usize {
        self.inner.swaps.load(Ordering::Relaxed)
    }

    /// Breaks the connection of whoever commits next.
    pub fn break_at(&self, moment: Moment) {
        self.inner.state().break_at = Some(Break { moment, for_good: false });
    }

    /// The same, and all others; until the wire is mended there are no new ones.
    pub fn break_for_good_at(&self, moment: Moment) {
        self.inner.state().break_at = Some(Break { moment, for_good: true });
    }

    /// How often it has broken in the middle of a commit.
    pub fn breaks(&self) -> usize {
        self.inner.state().breaks
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.inner.state().is_broken = false;
    }

    /// Holds what the server answers whoever begins a transaction next.
    pub fn hold_next(&self) {
        self.inner.state().hold = Hold::Next;
    }

    /// Waits until it holds an answer.
    pub fn until_holding(&self) {
        let state = self.inner.state();
        let waited =
            self.inner.changed.wait_timeout_while(state, PATIENCE, |it| it.hold != Hold::Now);
        let waited = waited.unwrap_or_else(PoisonError::into_inner).1;
        assert!(!waited.timed_out(), "nobody begins a transaction");
    }

    /// Lets go of what it holds.
    pub fn let_go(&self) {
        self.inner.state().hold = Hold::Nothing;
        self.inner.changed.notify_all();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the wire is to break now.
    fn breaks_at(&self, moment: Moment) -> bool {
        let mut state = self.state();
        let Some(Break { for_good, .. }) = state.break_at.take_if(|it| it.moment == moment) else {
            return false;
        };
        state.breaks += 1;
        if for_good {
            state.is_broken = true;
            for stream in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        true
    }

    fn begins_to_hold(&self) -> bool {
        let mut state = self.state();
        let holds = state.hold == Hold::Next;
        if holds {
            state.hold = Hold::Now;
            self.changed.notify_all();
        }
        holds
    }

    fn until_let_go(&self) {
        let state = self.state();
        drop(self.changed.wait_while(state, |state| state.hold == Hold::Now));
    }
}

struct Connection {
    wire: Arc<Inner>,
    client: TcpStream,
    server: TcpStream,
    /// Whether answers on this connection wait.
    holds: Mutex<bool>,
}

impl Connection {
    fn open(wire: &Arc<Inner>, client: TcpStream) -> Option<Arc<Self>> {
        let mut state = wire.state();
        if state.is_broken {
            return None;
        }
        let server = TcpStream::connect(("127.0.0.1", wire.server)).ok()?;
        // Messages go one by one; none waits until the one before has arrived.
        for stream in [&client, &server] {
            stream.set_nodelay(true).ok()?;
        }
        state.streams.extend([client.try_clone().ok()?, server.try_clone().ok()?]);
        drop(state);
        Some(Arc::new(Self { wire: Arc::clone(wire), client, server, holds: Mutex::new(false) }))
    }

    /// Passes on what is said in both directions, until one side hangs up.
    fn run(self: Arc<Self>) {
        let back = Arc::clone(&self);
        let answers = thread::spawn(move || {
            let _ = back.pass_back();
            back.end();
        });
        let _ = self.pass_on();
        self.end();
        let _ = answers.join();
    }

    fn end(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// What the client says.
    fn pass_on(&self) -> io::Result<()> {
        let mut prepared: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut message = self.swapped(read(&self.client, 4)?);
        loop {
            (&self.server).write_all(&message)?;
            message = self.swapped(read(&self.client, 5)?);
            let mut words = message[5..].split(|byte| *byte == 0);
            let (first, second) = (words.next().unwrap_or(&[]), words.next().unwrap_or(&[]));
            match message[0] {
                // To prepare: a name, and what it stands for.
                b'P' => drop(prepared.insert(first.to_vec(), second.to_vec())),
                // To run: a place for the rows, and the name.
                b'B' => match prepared.get(second).map(Vec::as_slice) {
                    Some(b"COMMIT") if self.wire.breaks_at(Moment::BeforeCommit) => return Ok(()),
                    Some(sql) if sql.starts_with(b"BEGIN") && self.wire.begins_to_hold() => {
                        *self.holds.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    }
                    Some(_) | None => {}
                },
                _ => {}
            }
        }
    }

    /// What the server answers.
    fn pass_back(&self) -> io::Result<()> {
        loop {
            let message = read(&self.server, 5)?;
            if message[0] == b'C'
                && &message[5..] == b"COMMIT\0"
                && self.wire.breaks_at(Moment::AfterCommit)
            {
                return Ok(());
            }
            let holds =
                std::mem::take(&mut *self.holds.lock().unwrap_or_else(PoisonError::into_inner));
            if holds {
                self.wire.until_let_go();
            }
            (&self.client).write_all(&message)?;
        }
    }

    fn swapped(&self, mut message: Vec<u8>) -> Vec<u8> {
        let Some(Swap { said, heard }) = &self.wire.swap else { return message };
        while let Some(place) = message.windows(said.len()).position(|part| part == *said) {
            message[place..place + said.len()].copy_from_slice(heard);
            self.wire.swaps.fetch_add(1, Ordering::Relaxed);
        }
        message
    }
}

/// Reads a whole message: a byte that says what kind it is, but for the first that a client says;
/// the length of the rest, itself included; the rest.
fn read(mut from: &TcpStream, head: usize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; head];
    from.read_exact(&mut message)?;
    let length = u32::from_be_bytes(message[head - 4..].try_into().expect("four bytes"));
    message.resize(head - 4 + length as usize, 0);
    from.read_exact(&mut message[head..])?;
    Ok(message)
}
