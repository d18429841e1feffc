//! The socket as hyper sees it: a TCP stream that reports to the connection's [`Watch`].
//!
//! Besides reporting it does three things that hyper does not:
//!
//! - It ends a head that is overdue with a 408.
//! - It replaces the refusals that hyper writes on its own (400, 431) by problems with the security
//!   headers. hyper writes outside of an answer in that case only, so the phase tells them apart.
//! - It closes in the polite order if the client is still sending: our half first, then read what
//!   still comes for a while. Closing with unread bytes makes the kernel reset the connection, and
//!   the client would lose the 413 that explains it.
//!
//! Absent on purpose: a stop on reading while the client does not read its answers. hyper takes no
//! further request before the last answer has left its buffer (a test floods it to see that).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::watch::Watch;

/// How long a closed connection is read on, so that the client gets to the answer.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How much is read meanwhile; a client that pushes on after that has had its chance.
const LINGER_BYTES_MAX: usize = 16 << 20;

pub(super) struct Wire {
    stream: TcpStream,
    watch: Arc<Watch>,
    /// hyper has refused a head.
    refused: bool,
    shut: bool,
    lingered_bytes: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, watch: Arc<Watch>) -> Self {
        Self { stream, watch, refused: false, shut: false, lingered_bytes: 0 }
    }

    /// Writes our refusal in place of hyper's.
    fn refuse(&mut self, hypers: &[u8]) {
        const STATUS: std::ops::Range<usize> = 9..12;
        self.refused = true;
        let shared = &self.watch.shared;
        let ours = match hypers.get(STATUS) {
            Some(b"431" | b"414") => &shared.canned.headers_too_large,
            _ => &shared.canned.malformed_request,
        };
        shared.write_canned(&self.stream, ours);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let in_head = this.watch.in_head();
        if in_head && this.watch.is_late() {
            if this.watch.head_begun() {
                let shared = &this.watch.shared;
                shared.write_canned(&this.stream, &shared.canned.request_timeout);
            }
            // To hyper this is the end of the stream.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        // What follows an unread body may be its rest.
        if in_head && buf.filled().len() > before && !this.watch.is_unread() {
            this.watch.head_grew();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.watch.in_head() {
            this.refuse(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        match Pin::new(&mut this.stream).poll_write(cx, buf) {
            Poll::Pending => {
                this.watch.stalled();
                Poll::Pending
            }
            Poll::Ready(written) => {
                this.watch.moved();
                Poll::Ready(written)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper asks when its buffer is empty, and a TCP stream keeps nothing back.
        self.watch.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.shut = true;
            this.watch.closing();
        }
        if this.refused || this.watch.is_unread() {
            while this.lingered_bytes < LINGER_BYTES_MAX {
                match ready!(discard(&mut this.stream, cx)) {
                    0 => break,
                    read => this.lingered_bytes += read,
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.watch.is_stalled() {
            // Nobody reads what lies in the kernel's buffer; a reset frees it now instead of in
            // minutes.
            let _ = self.stream.set_zero_linger();
        }
    }
}

/// Closes our half and reads until the client has closed its own, or has sent too much. The caller
/// bounds the time.
pub(super) async fn linger(mut stream: TcpStream) {
    let shut = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await;
    if shut.is_err() {
        return;
    }
    let mut lingered_bytes = 0;
    while lingered_bytes < LINGER_BYTES_MAX {
        match std::future::poll_fn(|cx| discard(&mut stream, cx)).await {
            0 => break,
            read => lingered_bytes += read,
        }
    }
}

/// Reads something and throws it away; 0 at the end, or when the connection is broken.
fn discard(stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<usize> {
    let mut bytes = [0; 8 * 1024];
    let mut buf = ReadBuf::new(&mut bytes);
    match ready!(Pin::new(stream).poll_read(cx, &mut buf)) {
        Ok(()) => Poll::Ready(buf.filled().len()),
        Err(_) => Poll::Ready(0),
    }
}
