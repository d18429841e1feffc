//! Contexts in tokens and bodies: by the names of the services that they become.

use eventbooker_core::Context;
use serde::{Deserialize, Deserializer, Serializer};

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the library wants it so")]
pub(crate) fn serialize<S: Serializer>(of: &Context, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(of.name())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Context, D::Error> {
    let name = std::borrow::Cow::<'de, str>::deserialize(input)?;
    name.parse().map_err(serde::de::Error::custom)
}
