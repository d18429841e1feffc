//! Reading a request's body into memory, up to a limit.

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::problem::{Problem, ProblemKind};

/// Reads a body of at most `limit_bytes`.
///
/// A larger one is a 413: at once if its `Content-Length` says so, otherwise at the first byte too
/// many. A body that breaks off or is badly framed is a 400. One that arrives too slowly never gets
/// an answer from here: the edge ends the whole request with a 408 when
/// [`EdgeConfig::request_timeout`](super::EdgeConfig::request_timeout) has passed.
pub async fn read_body(mut body: Body, limit_bytes: usize) -> Result<Bytes, Problem> {
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > limit_bytes) {
        return Err(too_large(limit_bytes));
    }
    let first = match next_data(&mut body, 0, limit_bytes).await? {
        Some(first) if !body.is_end_stream() => first,
        // Nearly every body is one small frame, which needs no copy.
        whole => return Ok(whole.unwrap_or_default()),
    };
    let mut bytes = BytesMut::from(first);
    while let Some(data) = next_data(&mut body, bytes.len(), limit_bytes).await? {
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// The next piece of the body, if with it and what was read before the limit still holds.
async fn next_data(
    body: &mut Body,
    read_bytes: usize,
    limit_bytes: usize,
) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(ProblemKind::MalformedBody, format!("the body could not be read: {error}"))
        })?;
        // Trailers mean nothing to us.
        if let Ok(data) = frame.into_data() {
            if data.len() > limit_bytes - read_bytes {
                return Err(too_large(limit_bytes));
            }
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn too_large(limit_bytes: usize) -> Problem {
    Problem::new(ProblemKind::BodyTooLarge, format!("the body is larger than {limit_bytes} bytes"))
}
