//! What pages load: one style sheet, one script of our own, htmx, and an icon, each under a name
//! with the hash of its content, so that browsers may keep it for a year.
//!
//! They are part of the program, and packed once, when they are first asked for.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::problem::{Problem, ProblemKind};

/// Content that has another hash has another name.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-cache");

/// The style sheet of every page.
pub(crate) const STYLE: &str = include_str!("../../assets/app.css");

const SOURCES: [(&str, &str, &[u8]); 4] = [
    ("app.css", "text/css; charset=utf-8", STYLE.as_bytes()),
    ("app.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/app.js")),
    ("htmx.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/htmx.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
];

struct Asset {
    name: &'static str,
    /// Its name with the hash, which is the last segment of its path.
    hashed: String,
    /// The whole path.
    path: String,
    kind: &'static str,
    plain: &'static [u8],
    packed: Bytes,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |(name, kind, plain): (&'static str, &'static str, &'static [u8])| {
        let (stem, extension) = name.split_once('.').expect("a name has an extension");
        let hash = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(plain)[..9]);
        let hashed = format!("{stem}.{hash}.{extension}");
        Asset {
            name,
            path: format!("/assets/{hashed}"),
            hashed,
            kind,
            plain,
            packed: packed(plain),
        }
    };
    SOURCES.into_iter().map(asset).collect()
});

fn packed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("a Vec takes every byte");
    encoder.finish().expect("a Vec takes every byte").into()
}

/// The path of an asset.
///
/// # Panics
/// If there is none of that name: only templates ask.
pub(crate) fn path(name: &str) -> &'static str {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    &asset.unwrap_or_else(|| panic!("there is no asset {name}")).path
}

pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{name}", get(serve))
}

async fn serve(name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    // A path that isn't UTF-8 names nothing.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    // While replicas are replaced one by one, a page of one version asks another one for its files;
    // what is there then is better than nothing, but nobody may keep it.
    let asset = ASSETS.iter().find(|asset| asset.hashed == name);
    let kept = if asset.is_some() { KEPT } else { NOT_KEPT };
    let Some(asset) = asset.or_else(|| of_another_version(&name)) else {
        return Problem::new(ProblemKind::NotFound, "there is no such file").into_response();
    };
    let mut response = if takes_gzip(&headers) {
        let coding = HeaderValue::from_static("gzip");
        ([(CONTENT_ENCODING, coding)], asset.packed.clone()).into_response()
    } else {
        Bytes::from_static(asset.plain).into_response()
    };
    let sent = response.headers_mut();
    sent.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    sent.insert(CACHE_CONTROL, kept);
    sent.insert(VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// The asset whose name it would be with another hash.
fn of_another_version(name: &str) -> Option<&'static Asset> {
    let (stem, rest) = name.split_once('.')?;
    let (_, extension) = rest.split_once('.')?;
    ASSETS.iter().find(|asset| asset.name.split_once('.') == Some((stem, extension)))
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight| weight > 0.0)
    })
}
