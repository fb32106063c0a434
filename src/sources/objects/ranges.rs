//! Lists a store in several key ranges at once, and hands everything over in order.
//!
//! Where ranges begin is known from the run before: every [`MARK_EVERY`]-th key that it listed. The marks may be lost or wrong; then the
//! ranges are uneven and nothing else. The first run lists in one go, beside which it reads every object. Memory: a mark for
//! every [`MARK_EVERY`] keys; [`RANGES`] times [`PAGES`] pages of a thousand keys, some 15 MB with keys of 100 bytes.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;

use super::store::{Listed, Store};
use crate::domain::percent_decoded;
use crate::sources::SourceError;
use crate::sources::tree::entry::encoded;

/// A range is some pages long, so that those listed ahead fit in memory whole.
const MARK_EVERY: u64 = 4_000;
/// Listed at once.
const RANGES: usize = 8;
/// Waiting in each.
const PAGES: usize = 5;
const NAME: &str = "marks";

/// A listing in ranges.
pub(super) struct Ranges {
    store: Arc<dyn Store>,
    runtime: Handle,
    ahead: VecDeque<(Option<String>, Option<String>)>,
    open: VecDeque<Open>,
}

struct Open {
    pages: Receiver<Result<Vec<Listed>, SourceError>>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ranges {
    pub(super) fn new(store: Arc<dyn Store>, runtime: Handle, prefix: &str, keep: &Path) -> Self {
        let marks = if store.lists_from_anywhere() { read(keep, prefix) } else { vec![] };
        let begins = std::iter::once(None).chain(marks.iter().cloned().map(Some));
        let ends = marks.iter().cloned().map(Some).chain(std::iter::once(None));
        let ahead = begins.zip(ends).collect();
        Self { store, runtime, ahead, open: VecDeque::new() }
    }

    /// The next page in order; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Listed>>, SourceError> {
        loop {
            while self.open.len() < RANGES
                && let Some((after, until)) = self.ahead.pop_front()
            {
                let open = self.begin(after, until);
                self.open.push_back(open);
            }
            let Some(first) = self.open.front_mut() else { return Ok(None) };
            match first.pages.recv().await {
                Some(page) => return page.map(Some),
                None => match (&mut first.task).await {
                    Ok(()) => drop(self.open.pop_front()),
                    // A listing that broke must not pass for one that ended.
                    Err(error) => {
                        let what = "listing objects".to_owned();
                        return Err(SourceError::Failed { what, why: error.to_string(), hint: String::new() });
                    }
                },
            }
        }
    }

    fn begin(&self, after: Option<String>, until: Option<String>) -> Open {
        let (send, pages) = channel(PAGES);
        let mut listing = Arc::clone(&self.store).list(after, until);
        let task = self.runtime.spawn(async move {
            loop {
                let page = match listing.next().await {
                    Ok(None) => return,
                    Ok(Some(page)) => Ok(page),
                    Err(error) => Err(error),
                };
                let is_last = page.is_err();
                if send.send(page).await.is_err() || is_last {
                    return;
                }
            }
        });
        Open { pages, task }
    }
}

/// Notes every so manieth key for the next run.
#[derive(Default)]
pub(super) struct Marks {
    listed: u64,
    marks: Vec<String>,
}

impl Marks {
    pub(super) fn note(&mut self, key: &str) {
        self.listed += 1;
        if self.listed.is_multiple_of(MARK_EVERY) && self.marks.last().is_none_or(|last| last.as_str() < key) {
            self.marks.push(key.to_owned());
        }
    }

    /// What cannot be written costs the next run time and nothing else.
    pub(super) fn write(self, keep: &Path) {
        if let Err(error) = self.try_write(keep) {
            tracing::warn!(%error, "the marks for the next listing could not be kept");
        }
    }

    fn try_write(self, keep: &Path) -> std::io::Result<()> {
        if self.marks.is_empty() && !keep.join(NAME).exists() {
            return Ok(());
        }
        std::fs::create_dir_all(keep)?;
        let mut file = std::io::BufWriter::new(tempfile::NamedTempFile::new_in(keep)?);
        for mark in &self.marks {
            writeln!(file, "{}", encoded(mark.as_bytes()))?;
        }
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.persist(keep.join(NAME)).map(drop).map_err(|error| error.error)
    }
}

/// Marks with this prefix, in order; none where they make no sense.
fn read(keep: &Path, prefix: &str) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(keep.join(NAME)) else { return vec![] };
    let mark = |line: &str| String::from_utf8(percent_decoded(line)?).ok();
    let Some(mut marks) = text.lines().map(mark).collect::<Option<Vec<String>>>() else { return vec![] };
    marks.retain(|mark| mark.starts_with(prefix));
    let in_order = marks.windows(2).all(|pair| pair[0] < pair[1]);
    if in_order { marks } else { vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back_and_nonsense_counts_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut marks = Marks::default();
        for number in 0..=MARK_EVERY * 3 {
            marks.note(&format!("{}/{number:08}\n", if number < MARK_EVERY * 2 { "a" } else { "b" }));
        }
        marks.write(folder.path());
        let all = read(folder.path(), "");
        assert_eq!(all, ["a/00003999\n", "a/00007999\n", "b/00011999\n"]);
        assert_eq!(read(folder.path(), "b/"), all[2..]);
        std::fs::write(folder.path().join(NAME), "b\na\n").unwrap();
        assert!(read(folder.path(), "").is_empty());
        std::fs::write(folder.path().join(NAME), "a\n%zz\n").unwrap();
        assert!(read(folder.path(), "").is_empty());
    }
}
