//! What a snapshot says about itself: the guide to load it by hand, the index of its new packs, the recipe.
//!
//! Memory: the text of the index and of the recipe, once plain, once packed and once sealed.

use std::collections::HashMap;

use bytes::Bytes;

use crate::domain::{ObjectKey, SealedObject, Shape, SourceRecord};
use crate::operations::OperationError;
use crate::operations::error::local;
use crate::repository::crypt;
use crate::repository::index::{self, Index};
use crate::repository::layout::{self, ContentName};
use crate::repository::pipeline::Written;
use crate::repository::recipe::{self, Meta, Recipe};
use crate::repository::writer::Writer;
use crate::sources::SourceKind;

/// Level for recipes and indexes: small and read by people's tools as well.
const METADATA_LEVEL: i32 = 9;

/// How to load the parts without Lifeboat, in the words of the source kind.
pub(super) fn guide(kind: &dyn SourceKind, record: &SourceRecord, written: &Written) -> String {
    let stored = written.parts.iter().filter(|part| part.shape != Shape::Digest);
    let files: Vec<_> = stored.map(|part| (part.name.clone(), part.name.to_string())).collect();
    kind.loading_guide(record, &files)
}

/// The rows that the source read, as its own engine would count them.
pub(super) fn rows(record: &SourceRecord, written: &Written) -> u64 {
    let by_name: HashMap<_, _> = written.parts.iter().map(|part| (&part.name, part.fingerprint.records)).collect();
    // Other groups hold lines of SQL, which nobody calls rows.
    let counted = record.groups.iter().filter(|group| group.engine_count.is_some());
    counted.flat_map(|group| &group.parts).filter_map(|part| by_name.get(part)).sum()
}

/// Objects of a snapshot that are not packs.
pub(super) struct Metadata {
    pub(super) recipe: ContentName,
    /// Index (if packs were added), then recipe: the commit order.
    pub(super) objects: Vec<SealedObject>,
}

pub(super) fn seal_metadata(writer: &Writer, meta: Meta, written: &Written) -> Result<Metadata, OperationError> {
    let mut objects = vec![];
    if !written.added.is_empty() {
        let plain = index::encode(&Index { epoch: writer.epoch.id.clone(), packs: written.added.clone() });
        let sealed = crypt::seal(&plain, &writer.index_recipients()?)?;
        objects.push(sealed_object(layout::index(&ContentName::of(&sealed)), sealed));
    }
    let text = recipe::encode(&Recipe { meta, parts: written.parts.clone(), blob_packs: written.blob_packs.clone() });
    let packed = zstd::bulk::compress(&text, METADATA_LEVEL).map_err(local("the recipe"))?;
    let sealed = crypt::seal(&packed, &crypt::recipients(std::slice::from_ref(&writer.epoch.public))?)?;
    let recipe = ContentName::of(&sealed);
    objects.push(sealed_object(layout::recipe(&recipe), sealed));
    Ok(Metadata { recipe, objects })
}

fn sealed_object(key: ObjectKey, bytes: Vec<u8>) -> SealedObject {
    SealedObject::new(key, Bytes::from(bytes)).expect("an age file under an age name")
}
