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
    let (mut locales, mut icu_locales, mut collations) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for database in &details.databases {
        extensions.extend(database.extensions.iter().map(|it| (it.name.clone(), it.version.clone())));
        locales.extend([&database.collate, &database.ctype].into_iter().filter(|it| !it.is_empty()).cloned());
        if database.locale_provider == "icu" {
            icu_locales.extend(database.locale.clone());
        }
        for collation in &database.collations {
            let of = if collation.provider == "icu" { &mut icu_locales } else { &mut locales };
            of.extend(collation.locales.iter().cloned());
            collations.extend(collation.system.clone());
        }
    }
    // The cluster's own encoding matters to nothing that is loaded, as each database brings its own; but locales are tried in
    // it, and UTF-8 goes with most.
    let encodings = || details.databases.iter().map(|database| &database.encoding);
    let encoding = encodings().find(|encoding| *encoding == "UTF8").or_else(|| encodings().next());
    let bytes: u64 = details.databases.iter().map(|database| database.size_bytes).sum();
    ScratchNeeds {
        engine: "postgres".to_owned(),
        major: details.server_version_num / 10_000,
        extensions: extensions.into_iter().collect(),
        superuser: details.superuser.clone(),
        source_identity: details.system_identifier.clone(),
        locales: locales.into_iter().collect(),
        icu_locales: icu_locales.into_iter().collect(),
        collations: collations.into_iter().collect(),
        encoding: encoding.cloned().unwrap_or_default(),
        preload: details.preload_libraries.clone(),
        bytes: bytes.saturating_mul(DISK_PERCENT) / 100,
        relations: details.databases.iter().map(|database| database.relation_count).max().unwrap_or_default(),
        ..ScratchNeeds::default()
    }
}
