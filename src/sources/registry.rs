//! The kinds of sources. A new kind is one folder and one line here.

use super::SourceKind;

/// Every kind, in the order that help shows them.
pub fn kinds() -> &'static [&'static dyn SourceKind] {
    &[
        &super::postgres::Postgres,
        &super::redis::Redis,
        &super::objects::Objects,
        &super::files::Files,
        &super::git::Git,
        &super::command::Command,
    ]
}

pub fn kind(name: &str) -> Option<&'static dyn SourceKind> {
    kinds().iter().copied().find(|kind| kind.name() == name)
}
