//! Folder by folder, each sorted, depth first: the order of the keys' bytes.
//!
//! A folder sorts as its name with a `/`, because that is what the keys below it go on with: `a.txt` before `a/b`, and that before `a0`.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Asked, FolderStore, Folders, NO_TEXT, Thing, ThingKind};
use crate::sources::SourceError;
use crate::sources::objects::store::{Listed, Listing, Which};

/// What is handed over at once.
const PAGE: usize = 1000;
/// Folders within folders; nobody has so many on purpose.
const DEPTH_MAX: usize = 1000;

pub(super) struct Walk<F> {
    store: Arc<FolderStore<F>>,
    after: Option<String>,
    until: Option<String>,
    begun: bool,
    /// The folders from the top to where we are, each with what is left of it, last first.
    open: Vec<(String, Vec<Thing>)>,
}

impl<F: Folders> Walk<F> {
    pub(super) fn new(store: Arc<FolderStore<F>>, after: Option<String>, until: Option<String>) -> Self {
        Self { store, after, until, begun: false, open: vec![] }
    }

    /// Goes into a folder; `false` where that is denied.
    async fn enter(&mut self, folder: String) -> Result<bool, SourceError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.failed(&format!("`{folder}` is {DEPTH_MAX} folders deep")));
        }
        match self.store.folders.children(&folder).await? {
            Asked::Found(mut things) => {
                things.sort_unstable_by(|one, other| order(other, one));
                // Names that are no text may look the same; one of them is enough to say so.
                things.dedup_by(|one, other| one.name == other.name && one.kind == other.kind);
                self.open.push((folder, things));
                Ok(true)
            }
            // Removed since its parent was listed, or never found by a name that is no text.
            Asked::Gone => Ok(!folder.contains(NO_TEXT)),
            Asked::Denied => Ok(false),
            Asked::Changed => Err(self.failed(&format!("`{folder}` is another by now"))),
        }
    }

    async fn begin(&mut self) -> Result<(), SourceError> {
        self.begun = true;
        // Only the folder that the prefix names is gone through, if it names one.
        let top = self.store.prefix.rfind('/').map_or("", |at| &self.store.prefix[..=at]).to_owned();
        if !self.enter(top.clone()).await? {
            return Err(SourceError::Refused {
                what: format!("listing {}{top}", self.store.folders.place()),
                why: "permission denied".to_owned(),
                hint: "the account needs to list and read it".to_owned(),
            });
        }
        if self.open.is_empty() && top.is_empty() {
            return Err(self.failed("there is no such folder"));
        }
        Ok(())
    }

    fn failed(&self, why: &str) -> SourceError {
        SourceError::Failed {
            what: format!("listing {}", self.store.folders.place()),
            why: why.to_owned(),
            hint: "nothing was committed".to_owned(),
        }
    }

    /// Whether the listing may hold this key, or any that goes on where a folder's path ends.
    fn wants(&self, path: &str, is_folder: bool) -> bool {
        let prefix = &self.store.prefix;
        let below = |bound: &str| is_folder && bound.starts_with(path);
        (path.starts_with(prefix) || below(prefix))
            && self.after.as_deref().is_none_or(|after| path > after || below(after))
            && self.until.as_deref().is_none_or(|until| path <= until)
    }
}

/// A folder's name goes on with a `/`.
fn order(one: &Thing, other: &Thing) -> std::cmp::Ordering {
    fn whole(thing: &Thing) -> impl Iterator<Item = u8> {
        thing.name.bytes().chain((thing.kind == ThingKind::Folder).then_some(b'/'))
    }
    whole(one).cmp(whole(other))
}

#[async_trait]
impl<F: Folders + 'static> Listing for Walk<F> {
    async fn next(&mut self) -> Result<Option<Vec<Listed>>, SourceError> {
        if !self.begun {
            self.begin().await?;
        }
        let mut page = vec![];
        while page.len() < PAGE
            && let Some((folder, things)) = self.open.last_mut()
        {
            let Some(thing) = things.pop() else {
                self.open.pop();
                continue;
            };
            let mut path = format!("{folder}{}", thing.name);
            let is_folder = thing.kind == ThingKind::Folder;
            if is_folder {
                path.push('/');
            }
            if !self.wants(&path, is_folder) || (is_folder && self.enter(path.clone()).await?) {
                continue;
            }
            page.push(Listed {
                which: Which { key: path, version: None },
                removed: false,
                size: thing.size,
                tag: thing.tag,
                time: thing.time,
            });
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sources::objects::attributes::Attributes;
    use crate::sources::objects::folders::Content;
    use crate::sources::objects::store::Store;

    /// Folders by their paths, each with what is in it; those that are not there are denied.
    struct Shown(BTreeMap<String, Vec<Thing>>);

    #[async_trait]
    impl Folders for Shown {
        fn place(&self) -> &'static str {
            "shown"
        }

        async fn children(&self, folder: &str) -> Result<Asked<Vec<Thing>>, SourceError> {
            Ok(self.0.get(folder).map_or(Asked::Denied, |things| Asked::Found(things.clone())))
        }

        async fn look(&self, _path: &str) -> Result<Asked<(Thing, Attributes)>, SourceError> {
            Ok(Asked::Gone)
        }

        async fn open(&self, _path: &str, _thing: &Thing, _from: u64) -> Result<Asked<Content>, SourceError> {
            Ok(Asked::Gone)
        }
    }

    /// Lists what these files make, each folder backwards.
    fn listed(files: &[&str], prefix: &str, after: Option<&str>, until: Option<&str>) -> Vec<String> {
        let mut folders: BTreeMap<String, Vec<Thing>> = BTreeMap::from([(String::new(), vec![])]);
        for file in files {
            let mut above = String::new();
            for part in file.split_inclusive('/') {
                let (name, kind) =
                    part.strip_suffix('/').map_or((part, ThingKind::File), |name| (name, ThingKind::Folder));
                let thing = Thing { name: name.to_owned(), kind, size: 0, tag: String::new(), time: None };
                let siblings = folders.entry(above.clone()).or_default();
                if !siblings.contains(&thing) {
                    siblings.insert(0, thing);
                }
                above.push_str(part);
            }
        }
        let store = Arc::new(FolderStore::new(Shown(folders), prefix));
        let mut listing = store.list(after.map(str::to_owned), until.map(str::to_owned));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut keys = vec![];
        while let Some(page) = runtime.block_on(listing.next()).unwrap() {
            keys.extend(page.into_iter().map(|listed| listed.which.key));
        }
        keys
    }

    #[test]
    fn folders_are_gone_through_in_the_order_of_the_keys_bytes() {
        let mut files = vec![
            "a.txt",
            "a/b",
            "a/b.c",
            "a/b/c",
            "a0",
            "a-1/x",
            "b/é",
            "b/e\u{301}",
            "Z",
            "z/\u{10000}",
            "z/\u{ffee}",
        ];
        files.retain(|file| *file != "a/b");
        let mut expected: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        expected.sort();
        assert_eq!(listed(&files, "", None, None), expected);
        for prefix in ["a", "a/", "a/b", "a/b/c", "z/", "nothing"] {
            let expected: Vec<String> = expected.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
            if prefix != "nothing" {
                assert_eq!(listed(&files, prefix, None, None), expected, "{prefix}");
            }
        }
        for (after, until) in [("a/b", "a0"), ("a/b.c", "z"), ("", "a/b/c"), ("b/é", "zz")] {
            let within = |key: &&String| key.as_str() > after && key.as_str() <= until;
            let expected: Vec<String> = expected.iter().filter(within).cloned().collect();
            assert_eq!(listed(&files, "", Some(after), Some(until)), expected, "{after} {until}");
        }
    }

    #[test]
    fn a_folder_that_is_denied_is_listed_as_one() {
        let (folder, file) = (ThingKind::Folder, ThingKind::File);
        let thing = |name: &str, kind| Thing { name: name.to_owned(), kind, size: 0, tag: String::new(), time: None };
        let shown = Shown(BTreeMap::from([(String::new(), vec![thing("open", file), thing("closed", folder)])]));
        let mut listing = Arc::new(FolderStore::new(shown, "")).list(None, None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let page = runtime.block_on(listing.next()).unwrap().unwrap();
        let keys: Vec<&str> = page.iter().map(|listed| listed.which.key.as_str()).collect();
        assert_eq!(keys, ["closed/", "open"]);
    }
}
