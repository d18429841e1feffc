//! Flags over environment over file, and what is wrong with a value that stands in one of them.

use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Serialize;

use super::{KEYS, ServeFlags};

const ENV_PREFIX: &str = "EVENTBOOKER_";
/// Variables that tests may set for themselves.
const TEST_PREFIX: &str = "EVENTBOOKER_TEST_";

/// Flags over environment over file.
pub(super) fn layered(
    config: Option<PathBuf>,
    flags: Serialized<impl Serialize>,
) -> Result<ServeFlags, String> {
    check_variables()?;
    let config = config.or_else(|| std::env::var_os("EVENTBOOKER_CONFIG").map(PathBuf::from));
    let mut figment = Figment::new();
    if let Some(path) = config {
        if !path.is_file() {
            return Err(format!("config: there is no file {}", path.display()));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    figment
        .merge(Env::prefixed(ENV_PREFIX).only(KEYS))
        .merge(flags)
        .extract()
        .map_err(|error| error.into_iter().map(|e| words(&e)).collect::<Vec<_>>().join("\n  "))
}

/// Refuses variables that look like settings and are none: a limit that was mistyped would silently
/// not hold.
fn check_variables() -> Result<(), String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    match unknown_variables(&names.collect::<Vec<_>>()).as_slice() {
        [] => Ok(()),
        unknown => {
            let lines = unknown.iter().map(|name| {
                let near = nearby(name).join(", ");
                format!("{name}: there is no such setting; expected {near}")
            });
            Err(lines.collect::<Vec<_>>().join("\n  "))
        }
    }
}

/// The variables that bear the prefix, name no setting and weren't set by somebody else.
fn unknown_variables(names: &[String]) -> Vec<&str> {
    // An orchestrator tells every process about its services in variables that begin with their
    // names: with one that is called eventbooker, EVENTBOOKER_SERVICE_HOST and EVENTBOOKER_PORT are
    // not ours.
    let services: Vec<&str> =
        names.iter().filter_map(|name| name.strip_suffix("_SERVICE_HOST")).collect();
    let tells_of_service = |name: &str| {
        let mut of_service = services.iter().filter_map(|service| name.strip_prefix(service));
        of_service.any(|rest| rest.starts_with("_SERVICE_") || rest.starts_with("_PORT"))
    };
    let is_unknown = |name: &&str| {
        let is_ours = name
            .get(..ENV_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(ENV_PREFIX));
        is_ours
            && !name.starts_with(TEST_PREFIX)
            && !tells_of_service(name)
            && !variables().any(|known| known.eq_ignore_ascii_case(name))
    };
    names.iter().map(String::as_str).filter(is_unknown).collect()
}

/// The variables of all settings.
fn variables() -> impl Iterator<Item = String> {
    KEYS.iter().chain(&["config"]).map(|key| format!("{ENV_PREFIX}{}", key.to_uppercase()))
}

/// The variables that may have been meant: those that have at least half of the pairs of letters
/// of this one, beside the prefix. All variables if there are none.
fn nearby(name: &str) -> Vec<String> {
    let beside_prefix = |name: &str| name[ENV_PREFIX.len()..].to_uppercase().into_bytes();
    let meant = beside_prefix(name);
    let is_near = |known: &String| {
        let known = beside_prefix(known);
        let is_shared = |pair: &&[u8]| known.windows(2).any(|other| other == *pair);
        meant.windows(2).filter(is_shared).count() * 2 >= meant.windows(2).count()
    };
    let near: Vec<String> = variables().filter(is_near).collect();
    if near.is_empty() { variables().collect() } else { near }
}

/// What is wrong with a value, and where it stands.
fn words(error: &figment::Error) -> String {
    let from_environment =
        error.metadata.as_ref().is_some_and(|from| from.name.contains(ENV_PREFIX));
    if from_environment {
        // The library would name the prefix and the rest of the variable in two places.
        return format!("{ENV_PREFIX}{}: {}", error.path.join("_").to_uppercase(), error.kind);
    }
    error.to_string()
}
