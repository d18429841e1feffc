//! A line: one side is a connection of the program's, the other is in the network's hands.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Default)]
struct State {
    from_program: Vec<u8>,
    to_program: Vec<u8>,
    shut: Option<Shut>,
    is_let_go: bool,
    reader: Option<Waker>,
}

/// How the network ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    /// The other side has closed it.
    Closed,
    /// Something on the way has torn it.
    Torn,
}

/// The program's side.
pub(crate) struct Line(Arc<Mutex<State>>);

/// The network's side.
pub(crate) struct LineEnd(Arc<Mutex<State>>);

/// A new line.
pub(crate) fn line() -> (Line, LineEnd) {
    let state = Arc::<Mutex<State>>::default();
    (Line(Arc::clone(&state)), LineEnd(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LineEnd {
    /// The message that the program has written, if it is whole.
    pub(crate) fn take_message(&self) -> Option<Vec<u8>> {
        let mut state = lock(&self.0);
        is_whole(&state.from_program).then(|| std::mem::take(&mut state.from_program))
    }

    /// Gives the program something to read.
    pub(crate) fn give(&self, bytes: &[u8]) {
        let mut state = lock(&self.0);
        state.to_program.extend_from_slice(bytes);
        wake(state);
    }

    pub(crate) fn shut(&self, shut: Shut) {
        let mut state = lock(&self.0);
        state.shut = state.shut.or(Some(shut));
        wake(state);
    }

    /// Whether the program has let go of it.
    pub(crate) fn is_let_go(&self) -> bool {
        lock(&self.0).is_let_go
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// Whether this is a whole message of HTTP/1.1. Those here say how long their bodies are.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&bytes[..head]);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    bytes.len() >= head + 4 + length.unwrap_or(0)
}

impl Drop for Line {
    fn drop(&mut self) {
        lock(&self.0).is_let_go = true;
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        if !state.to_program.is_empty() {
            let count = state.to_program.len().min(buffer.remaining());
            buffer.put_slice(&state.to_program[..count]);
            state.to_program.drain(..count);
            return Poll::Ready(Ok(()));
        }
        match state.shut {
            Some(Shut::Closed) => Poll::Ready(Ok(())),
            Some(Shut::Torn) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0);
        if state.shut.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        state.from_program.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Poll::Ready(Ok(()))
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
