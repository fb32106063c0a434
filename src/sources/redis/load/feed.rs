//! The thread that reads a stored RDB and writes the commands that load it.
//!
//! A value is gathered in memory up to [`HELD_BYTES_MAX`] and in a temporary file beyond, because its length stands before it on
//! the wire. A stored RDB is checked as it is read; commands for keys before some damage have gone out by then.

use std::fs::File;
use std::io::{Seek, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::choice::Choice;
use crate::domain::{Event, PartName, PartStore, human_bytes};
use crate::sources::redis::rdb::Version;
use crate::sources::redis::rdb::{Crc64, Entry, Head, Kind, Name, Parser, Raw, RdbError, Visitor, restore_trailer};
use crate::sources::redis::wire::{WINDOW, encode};
use crate::sources::{Context, SourceError};

/// A larger value goes through a file.
pub(super) const HELD_BYTES_MAX: usize = 4 << 20;
/// Commands are handed over when they have so many bytes, or are a window.
const BATCH_BYTES: usize = 1 << 20;
/// No longer name of a key is loaded.
const NAME_BYTES_MAX: usize = 8 << 20;
/// What is read between two looks at whether to go on.
const PIECE_BYTES: usize = 64 << 10;
/// `REDIS0010`
const HEADER_BYTES: usize = 9;
const ADVANCE_EVERY: Duration = Duration::from_millis(250);

/// Some commands, encoded, and what they are.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) commands: Vec<Command>,
    /// Belongs to the last command.
    pub(super) large: Option<Large>,
}

/// A value that is in a file, and what of its command comes after it.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) file: File,
    pub(super) tail: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Select(u64),
    /// Whether there is a key of this name, which stands in the batch's bytes.
    Exists {
        database: u64,
        name: Range<usize>,
    },
    Restore {
        database: u64,
        name: Range<usize>,
        kind: Kind,
        bytes: u64,
        expires_ms: Option<i64>,
    },
    Library {
        name: Vec<u8>,
        bytes: u64,
    },
}

/// What is written for the records that are chosen.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// Nothing but whether keys are there already, in these databases of the destination.
    Look(Vec<u64>),
    Load {
        /// Databases of the destination where a key may take the place of another.
        replace: Vec<u64>,
        replace_libraries: bool,
        /// The most that the server takes in one string.
        string_bytes_max: Option<u64>,
    },
}

/// One stored RDB to be read.
pub(super) struct Plan {
    pub(super) store: Arc<dyn PartStore>,
    pub(super) part: PartName,
    pub(super) choice: Arc<Choice>,
    pub(super) task: Task,
    /// The destination's database, where it is another than the snapshot's.
    pub(super) into: Option<u64>,
    /// Bytes of the parts before this one, and of all.
    pub(super) before_bytes: u64,
    pub(super) total_bytes: u64,
}

/// What was in the RDB.
#[derive(Debug, Default)]
pub(super) struct Fed {
    /// Which words of the choice stood for something.
    pub(super) seen: Vec<bool>,
    /// Modules that saved something beside the keys, which no command loads.
    pub(super) aside: Vec<String>,
}

/// Reads the part to its end. Ends without an error where nobody takes the batches any more: the other side says why.
pub(super) fn run(context: &Context, plan: Plan, out: mpsc::Sender<Batch>) -> Result<Fed, SourceError> {
    let mut reader = plan.store.open(&plan.part)?;
    let (part, before, total) = (plan.part.clone(), plan.before_bytes, plan.total_bytes);
    let phase = if matches!(plan.task, Task::Look(_)) { "check" } else { "load" };
    let mut parser = Parser::new().keep_names_to(NAME_BYTES_MAX);
    let mut feeder = Feeder::new(plan, context.work.clone(), out);
    let (mut fed, mut shown) = (0_usize, Instant::now());
    while let Some(piece) = reader.next_piece()? {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            // The header alone first: every value ends with the version that stands there.
            let most = if fed < HEADER_BYTES { HEADER_BYTES - fed } else { PIECE_BYTES };
            let (some, after) = rest.split_at(most.min(rest.len()));
            rest = after;
            fed += some.len();
            feeder.version = parser.version();
            parser.feed(some, &mut feeder).map_err(|error| damaged(&part, &error))?;
            if let Some(unknown) = parser.unknown() {
                return Err(not_understood(&part, &unknown.to_string()));
            }
            match feeder.stop.take() {
                None => {}
                Some(Stop::NobodyListens) => return Ok(Fed::default()),
                Some(Stop::Failed(error)) => return Err(error),
            }
        }
        if shown.elapsed() >= ADVANCE_EVERY {
            shown = Instant::now();
            context.progress.event(Event::Advance {
                job: context.job.clone(),
                phase: phase.to_owned(),
                done_bytes: before + fed as u64,
                total_bytes: Some(total),
            });
        }
    }
    parser.finish().map_err(|error| damaged(&part, &error))?;
    feeder.hand_over();
    Ok(feeder.fed)
}

fn damaged(part: &PartName, error: &RdbError) -> SourceError {
    SourceError::Failed {
        what: format!("part `{part}` of the snapshot"),
        why: error.to_string(),
        hint: "restore `--from` another target, or another snapshot".to_owned(),
    }
}

pub(super) fn not_understood(part: &PartName, unknown: &str) -> SourceError {
    SourceError::Refused {
        what: format!("part `{part}` of the snapshot"),
        why: format!("it holds {unknown} so its keys cannot be loaded one by one"),
        hint: "restore into a folder and start a server that knows the format on its `dump.rdb`".to_owned(),
    }
}

enum Stop {
    Failed(SourceError),
    NobodyListens,
}

/// The record that is being taken.
struct Taken {
    database: u64,
    name: Vec<u8>,
    kind: Kind,
    expires_ms: Option<i64>,
}

struct Feeder {
    plan: Plan,
    work: PathBuf,
    out: mpsc::Sender<Batch>,
    batch: Batch,
    /// The database that the session is in once the commands so far are done.
    selected: Option<u64>,
    version: Option<Version>,
    taken: Option<Taken>,
    value: Vec<u8>,
    value_bytes: u64,
    spool: Option<File>,
    sum: Crc64,
    fed: Fed,
    /// The reader cannot be stopped from within.
    stop: Option<Stop>,
}

impl Feeder {
    fn new(plan: Plan, work: PathBuf, out: mpsc::Sender<Batch>) -> Self {
        let fed = Fed { seen: plan.choice.seen(), aside: vec![] };
        Self {
            plan,
            work,
            out,
            batch: Batch::default(),
            selected: None,
            version: None,
            taken: None,
            value: vec![],
            value_bytes: 0,
            spool: None,
            sum: Crc64::default(),
            fed,
            stop: None,
        }
    }

    fn fail(&mut self, error: SourceError) {
        self.stop.get_or_insert(Stop::Failed(error));
        self.taken = None;
    }

    fn hand_over(&mut self) {
        if !self.batch.commands.is_empty() && self.stop.is_none() {
            let batch = std::mem::take(&mut self.batch);
            if self.out.blocking_send(batch).is_err() {
                self.stop = Some(Stop::NobodyListens);
            }
        }
    }

    fn select(&mut self, database: u64) {
        if self.selected != Some(database) {
            self.selected = Some(database);
            encode(&mut self.batch.bytes, &[b"SELECT", database.to_string().as_bytes()]);
            self.batch.commands.push(Command::Select(database));
        }
    }

    fn look(&mut self, database: u64, name: &[u8]) {
        self.select(database);
        encode(&mut self.batch.bytes, &[b"EXISTS", name]);
        let end = self.batch.bytes.len() - 2;
        self.batch.commands.push(Command::Exists { database, name: end - name.len()..end });
        self.hand_over_if_full();
    }

    fn hand_over_if_full(&mut self) {
        if self.batch.bytes.len() >= BATCH_BYTES || self.batch.commands.len() >= WINDOW || self.batch.large.is_some() {
            self.hand_over();
        }
    }

    fn gather(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.value_bytes += piece.len() as u64;
        if let Some(file) = &mut self.spool {
            return file.write_all(piece);
        }
        self.value.extend_from_slice(piece);
        if self.value.len() > HELD_BYTES_MAX {
            let mut file = tempfile::tempfile_in(&self.work)?;
            file.write_all(&self.value)?;
            self.value.clear();
            self.spool = Some(file);
        }
        Ok(())
    }

    /// The value is whole: writes its command.
    fn restore(&mut self, taken: &Taken, library: &[u8]) -> Result<(), SourceError> {
        let Task::Load { replace, replace_libraries, string_bytes_max } = self.plan.task.clone() else { return Ok(()) };
        let Some(version) = self.version else {
            return Err(self.spool_failed(taken, &std::io::Error::other("no version stands before it")));
        };
        let trailer = restore_trailer(self.sum, version);
        self.gather(&trailer).map_err(|error| self.spool_failed(taken, &error))?;
        if let Some(most) = string_bytes_max.filter(|most| *most < self.value_bytes) {
            return Err(SourceError::Refused {
                what: format!("{} in db{}", shown(&taken.name), taken.database),
                why: format!(
                    "its value has {} and the server takes {} in one command",
                    human_bytes(self.value_bytes),
                    human_bytes(most)
                ),
                hint: "`CONFIG SET proto-max-bulk-len` to more at the destination for the time of the restore"
                    .to_owned(),
            });
        }
        let spool = match self.spool.take() {
            Some(mut file) => {
                file.rewind().map_err(|error| self.spool_failed(taken, &error))?;
                Some(file)
            }
            None => None,
        };
        let is_key = taken.kind.is_key();
        if is_key {
            self.select(taken.database);
        }
        let ttl = taken.expires_ms.map_or(0, |at| at.max(1)).to_string();
        let before: &[&[u8]] =
            if is_key { &[b"RESTORE", &taken.name, ttl.as_bytes()] } else { &[b"FUNCTION", b"RESTORE"] };
        let after: &[&[u8]] = match (is_key, replace.contains(&taken.database), replace_libraries) {
            (true, true, _) => &[b"ABSTTL", b"REPLACE"],
            (true, false, _) => &[b"ABSTTL"],
            (false, _, true) => &[b"REPLACE"],
            (false, _, false) => &[b"APPEND"],
        };
        let out = &mut self.batch.bytes;
        out.extend_from_slice(format!("*{}\r\n", before.len() + 1 + after.len()).as_bytes());
        let places: Vec<Range<usize>> = before.iter().map(|word| put(out, word)).collect();
        out.extend_from_slice(format!("${}\r\n", self.value_bytes).as_bytes());
        let mut tail = b"\r\n".to_vec();
        for word in after {
            put(&mut tail, word);
        }
        if let Some(file) = spool {
            self.batch.large = Some(Large { file, tail });
        } else {
            out.extend_from_slice(&self.value);
            out.extend_from_slice(&tail);
        }
        let bytes = self.value_bytes;
        let Taken { database, kind, expires_ms, .. } = *taken;
        self.batch.commands.push(if is_key {
            Command::Restore { database, name: places[1].clone(), kind, bytes, expires_ms }
        } else {
            Command::Library { name: library.to_vec(), bytes }
        });
        self.hand_over_if_full();
        Ok(())
    }

    fn spool_failed(&self, taken: &Taken, error: &std::io::Error) -> SourceError {
        SourceError::Failed {
            what: format!("{} in db{}", shown(&taken.name), taken.database),
            why: format!(
                "its value of more than {} through a temporary file: {error}",
                human_bytes(HELD_BYTES_MAX as u64)
            ),
            hint: format!("`{}` needs room for four of the largest values", self.work.display()),
        }
    }
}

/// Writes one string of a command; says where it stands.
fn put(out: &mut Vec<u8>, word: &[u8]) -> Range<usize> {
    out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
    let start = out.len();
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
    start..start + word.len()
}

/// A name for people.
pub(super) fn shown(name: &[u8]) -> String {
    const MOST: usize = 80;
    let text = name[..name.len().min(MOST)].escape_ascii();
    if name.len() > MOST { format!("key `{text}...`") } else { format!("key `{text}`") }
}

impl Visitor for Feeder {
    fn begin(&mut self, head: &Head<'_>) -> Raw {
        if self.stop.is_some() || !self.plan.choice.takes(&self.plan.part, head, &mut self.fed.seen) {
            return Raw::Skip;
        }
        let database = self.plan.into.unwrap_or(head.db);
        let name = match head.name {
            Name::Whole(name) => name,
            Name::Long { start, length } => {
                self.fail(SourceError::Refused {
                    what: format!("{} in db{database}", shown(start)),
                    why: format!(
                        "its name has {}; at most {} are loaded",
                        human_bytes(length),
                        human_bytes(NAME_BYTES_MAX as u64)
                    ),
                    hint: "restore into a folder and start a server on its `dump.rdb`".to_owned(),
                });
                return Raw::Skip;
            }
        };
        if let Task::Look(databases) = &self.plan.task {
            if head.kind.is_key() && databases.contains(&database) {
                self.look(database, name);
            }
            return Raw::Skip;
        }
        self.taken = Some(Taken { database, name: name.to_vec(), kind: head.kind, expires_ms: head.expires_ms });
        self.value.clear();
        (self.value_bytes, self.spool, self.sum) = (0, None, Crc64::default());
        Raw::Take
    }

    fn raw(&mut self, piece: &[u8]) {
        if self.taken.is_none() {
            return;
        }
        self.sum.update(piece);
        if let Err(error) = self.gather(piece)
            && let Some(taken) = self.taken.take()
        {
            let error = self.spool_failed(&taken, &error);
            self.fail(error);
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        if let Kind::ModuleAux(id) = entry.head.kind {
            let name = id.name();
            if self.plan.choice.is_everything() && !self.fed.aside.contains(&name) {
                self.fed.aside.push(name);
            }
            return;
        }
        // Which module a value is of stands in the value.
        let taken = self.taken.take().map(|taken| Taken { kind: entry.head.kind, ..taken });
        if let Some(taken) = taken
            && let Err(error) = self.restore(&taken, entry.head.name.start())
        {
            self.fail(error);
        }
    }
}
