//! What a scratch instance must offer, read from the record.

use std::collections::BTreeSet;

use crate::domain::{ScratchNeeds, SourceRecord};
use crate::sources::postgres::record::PostgresRecord;

/// Indexes, the log and temporary files of a load beside the content itself, in percent of it.
const DISK_PERCENT: u64 = 130;

/// A record that cannot be read needs an engine that does not exist, so a restore test of it is never tried.
pub fn needs(record: &SourceRecord) -> ScratchNeeds {
    let Ok(details) = PostgresRecord::of(record) else {
        return ScratchNeeds { engine: "postgres".to_owned(), ..ScratchNeeds::default() };
    };
    let mut extensions = BTreeSet::new();
    let mut locales = BTreeSet::new();
    for database in &details.databases {
        extensions.extend(database.extensions.iter().map(|it| (it.name.clone(), it.version.clone())));
        locales.extend([&database.collate, &database.ctype].into_iter().filter(|it| !it.is_empty()).cloned());
    }
    let bytes: u64 = details.databases.iter().map(|database| database.size_bytes).sum();
    ScratchNeeds {
        engine: "postgres".to_owned(),
        major: details.server_version_num / 10_000,
        extensions: extensions.into_iter().collect(),
        superuser: details.superuser.clone(),
        source_identity: details.system_identifier.clone(),
        locales: locales.into_iter().collect(),
        // The cluster's own encoding matters to nothing that is loaded: each database brings its own.
        encoding: details.databases.first().map(|database| database.encoding.clone()).unwrap_or_default(),
        preload: details.preload_libraries.clone(),
        bytes: bytes.saturating_mul(DISK_PERCENT) / 100,
        relations: details.databases.iter().map(|database| database.relation_count).max().unwrap_or_default(),
    }
}
