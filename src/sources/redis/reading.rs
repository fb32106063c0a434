//! The thread that an RDB passes through: it is read, its keys go as digests into groups by database and type, what the job
//! leaves out is cut away, and the rest goes into the part `rdb`.
//!
//! Memory: the reader's own bound, the blocks of one lane, and one block of digests for each type of the database that is being
//! read ([`DIGESTS_PER_PART`]); a group is as many parts as it fills blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::config::Wanted;
use super::filter::{Cut, Filter};
use super::rdb::{Checksum, Entry, Hashed, Head, Kind, Name, Parser, Raw, RdbError, Version, Visitor};
use super::record::VECTOR_SETS;
use crate::domain::{Block, DIGEST_BYTES, Fingerprint, Lane, Names, PartName, PartSink, Shape, SinkError};
use crate::sources::SourceError;
use crate::sources::bridge::{BLOCK_BYTES, LaneThread};

/// Digests are written when there are so many of one group. A second look finds parts by their numbers, so this is recorded in
/// every snapshot, as it were: another number makes the counts of differing keys in older ones wrong.
const DIGESTS_PER_PART: usize = (512 << 10) / DIGEST_BYTES;
/// Statements of the server about itself that are kept.
const STATEMENTS_MAX: usize = 64;
/// Longer names are left out of a job by what they begin with.
const NAME_BYTES_MAX: usize = 1 << 20;

/// What comes to the thread.
pub(super) enum Piece {
    Bytes(Vec<u8>),
    /// The sender saw the end that the server announced. Without it the dump is poisoned.
    End,
}

/// What the thread is to do.
pub(super) struct Plan {
    pub(super) sink: Arc<dyn PartSink>,
    /// `shard-0`, where there are several.
    pub(super) shard: Option<String>,
    pub(super) wanted: Wanted,
    /// False where only digests are compared.
    pub(super) keep_rdb: bool,
    /// Groups to digest; empty means all.
    pub(super) only: Vec<String>,
    /// Who asks what some records are called.
    pub(super) names: Option<Arc<Names>>,
    /// Keys whose values only their module understands go into groups of their own, [`MODULE_KEYS`] and [`MODULE_VALUES`].
    pub(super) modules_apart: bool,
}

/// Which keys of modules there are, each with its type and expiry, and without its value.
pub(super) const MODULE_KEYS: &str = "module-keys";
/// The same keys with their values as they were saved.
pub(super) const MODULE_VALUES: &str = "module-values";
/// What modules saved beside the keys.
pub(super) const MODULE_DATA: &str = "module-data";

/// One group of digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) parts: Vec<PartName>,
    pub(super) records: u64,
    pub(super) fingerprint: Fingerprint,
}

impl Default for Group {
    fn default() -> Self {
        Self { parts: vec![], records: 0, fingerprint: Fingerprint::EMPTY }
    }
}

/// One database of an RDB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Database {
    /// Keys that were read and are in the backup.
    pub(super) keys: u64,
    pub(super) left_out: u64,
    /// Keys by the server's own count.
    pub(super) stated: Option<u64>,
}

/// What an RDB turned out to be.
#[derive(Debug, Clone)]
pub(super) struct Read {
    /// Absent where it was not kept.
    pub(super) rdb: Option<PartName>,
    pub(super) bytes: u64,
    pub(super) version: Version,
    pub(super) checksum: Checksum,
    /// Groups by name: `db0/hash`, `functions`.
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) databases: BTreeMap<u64, Database>,
    /// `redis-ver`, `ctime`, ...
    pub(super) statements: BTreeMap<String, String>,
    /// Modules whose data it holds.
    pub(super) modules: BTreeSet<String>,
    /// Where reading stopped although the bytes went on, and why.
    pub(super) unknown: Option<String>,
}

/// Runs to the end of the pieces. Buffers go back through `emptied`.
pub(super) fn run(
    plan: Plan,
    handle: &Handle,
    mut pieces: mpsc::Receiver<Piece>,
    emptied: &mpsc::Sender<Vec<u8>>,
) -> Result<Read, SourceError> {
    let name = |text: &str| match &plan.shard {
        Some(shard) => PartName::from_components(&[shard, text]),
        None => PartName::from_components(&[text]),
    };
    let mut rdb = Rdb::begin(&plan, handle, name("rdb"))?;
    let mut filter = (!plan.wanted.is_everything()).then(Filter::new);
    let mut parser = Parser::new();
    if filter.is_some() {
        parser = parser.keep_names_to(NAME_BYTES_MAX);
    }
    let mut keys = Keys::new(plan)?;
    let mut kept = vec![];
    loop {
        let piece = match pieces.blocking_recv() {
            Some(Piece::Bytes(piece)) => piece,
            Some(Piece::End) => break,
            // The sender says why; what was written is dropped unfinished.
            None => return Err(SourceError::Cancelled),
        };
        keys.cuts.clear();
        parser.feed(&piece, &mut keys).map_err(|error| damaged(&error))?;
        if let Some(error) = keys.failure.take() {
            return Err(error.into());
        }
        if let Some(filter) = &mut filter {
            if let Some(unknown) = parser.unknown() {
                return Err(cannot_leave_out(unknown.to_string()));
            }
            kept.clear();
            filter.pass(&piece, &keys.cuts, &mut kept).map_err(|error| cannot_leave_out(error.to_string()))?;
            rdb.write(&kept)?;
        } else {
            rdb.write(&piece)?;
        }
        // A buffer that nobody takes back is a dump that is over.
        drop(emptied.try_send(piece));
    }
    let summary = parser.finish().map_err(|error| damaged(&error))?;
    if let Some(filter) = filter {
        kept.clear();
        filter.finish(summary.checksum != Checksum::Absent, &mut kept);
        rdb.write(&kept)?;
    }
    let (rdb, bytes) = rdb.finish()?;
    keys.finish(Read {
        rdb,
        bytes,
        version: summary.version,
        checksum: summary.checksum,
        groups: BTreeMap::new(),
        databases: BTreeMap::new(),
        statements: BTreeMap::new(),
        modules: BTreeSet::new(),
        unknown: summary.unknown.map(|unknown| unknown.to_string()),
    })
}

fn damaged(error: &RdbError) -> SourceError {
    SourceError::Failed {
        what: "the data that the server sent".to_owned(),
        why: error.to_string(),
        hint: "nothing was committed; if it happens again, `redis-check-rdb` on the server's own dump says more"
            .to_owned(),
    }
}

fn cannot_leave_out(why: String) -> SourceError {
    SourceError::Refused {
        what: "leaving keys out of the backup".to_owned(),
        why,
        hint: "back up everything: remove `databases` and `exclude_keys` from the job".to_owned(),
    }
}

/// The part that holds the RDB's bytes, or nothing.
struct Rdb<'h> {
    handle: &'h Handle,
    lane: Option<(LaneThread, PartName)>,
    bytes: u64,
}

impl<'h> Rdb<'h> {
    fn begin(plan: &Plan, handle: &'h Handle, name: PartName) -> Result<Self, SinkError> {
        let mut lane = None;
        if plan.keep_rdb {
            let mut thread = handle.block_on(async { LaneThread::start(&plan.sink) });
            handle.block_on(thread.begin(name.clone(), Shape::Bytes))?;
            lane = Some((thread, name));
        }
        Ok(Self { handle, lane, bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.bytes += bytes.len() as u64;
        let Some((lane, _)) = &mut self.lane else { return Ok(()) };
        self.handle.block_on(async {
            for piece in bytes.chunks(BLOCK_BYTES) {
                let mut block = lane.block().await?;
                block.data.extend_from_slice(piece);
                lane.write(block).await?;
            }
            Ok(())
        })
    }

    fn finish(self) -> Result<(Option<PartName>, u64), SinkError> {
        let Some((mut lane, name)) = self.lane else { return Ok((None, self.bytes)) };
        self.handle.block_on(async {
            lane.finish().await?;
            lane.close().await
        })?;
        Ok((Some(name), self.bytes))
    }
}

/// A record between its end and its hash. There are as many as the reader lets wait.
struct Unhashed {
    keep: bool,
    group: &'static str,
    /// Where it is a key.
    database: Option<u64>,
    bytes: u64,
    /// Where somebody asks for names.
    name: Option<Vec<u8>>,
    /// What goes into [`MODULE_KEYS`], and the length of its name.
    key: Option<([u8; 32], u64)>,
}

/// Gathers what the reader finds.
struct Keys {
    plan: Plan,
    lane: Box<dyn Lane>,
    /// Records that are not hashed yet: what becomes of their hashes.
    unhashed: VecDeque<Unhashed>,
    /// Digests that are not written yet, by group; of one database at a time.
    waiting: BTreeMap<&'static str, Block>,
    database: u64,
    /// The database whose keys are being counted, and its counts so far.
    counting: (u64, Database),
    /// Whether the record that is being read stays.
    keep: bool,
    cuts: Vec<Cut>,
    groups: BTreeMap<String, Group>,
    databases: BTreeMap<u64, Database>,
    statements: BTreeMap<String, String>,
    modules: BTreeSet<String>,
    /// The reader cannot be stopped from within.
    failure: Option<SinkError>,
}

impl Keys {
    fn new(plan: Plan) -> Result<Self, SinkError> {
        Ok(Self {
            lane: plan.sink.open_lane()?,
            plan,
            unhashed: VecDeque::new(),
            waiting: BTreeMap::new(),
            database: 0,
            counting: (0, Database::default()),
            keep: true,
            cuts: vec![],
            groups: BTreeMap::new(),
            databases: BTreeMap::new(),
            statements: BTreeMap::new(),
            modules: BTreeSet::new(),
            failure: None,
        })
    }

    /// Adds a digest to its group; `database` is that of a key.
    fn digest(
        &mut self,
        group: &'static str,
        database: Option<u64>,
        bytes: u64,
        hash: &[u8; 32],
    ) -> Result<(), SinkError> {
        if let Some(database) = database
            && database != self.database
        {
            self.flush()?;
            self.database = database;
        }
        let block = self.waiting.entry(group).or_default();
        block.data.extend_from_slice(hash);
        block.data.extend_from_slice(&bytes.to_le_bytes());
        let end = u32::try_from(block.data.len()).expect("a block is far below 4 GiB");
        block.record_ends.push(end);
        if block.record_ends.len() < DIGESTS_PER_PART {
            return Ok(());
        }
        let block = std::mem::take(block);
        let block = self.write(group, block)?;
        self.waiting.insert(group, block);
        Ok(())
    }

    /// Writes a block as one part and gives it back empty.
    fn write(&mut self, group: &'static str, mut block: Block) -> Result<Block, SinkError> {
        let of_database = !matches!(group, "functions" | MODULE_DATA);
        let database = format!("db{}", self.database);
        let name = if of_database { format!("{database}/{group}") } else { group.to_owned() };
        if self.plan.only.is_empty() || self.plan.only.contains(&name) {
            let entry = self.groups.entry(name).or_default();
            let number = format!("{:04}", entry.parts.len());
            let mut components: Vec<&str> = self.plan.shard.as_deref().into_iter().collect();
            components.extend(of_database.then_some(database.as_str()));
            components.extend([group, &number]);
            let part = PartName::from_components(&components);
            self.lane.begin(part.clone(), Shape::Digest)?;
            self.lane.write(&block)?;
            entry.fingerprint = entry.fingerprint.combine(self.lane.finish()?);
            entry.parts.push(part);
            entry.records += block.record_ends.len() as u64;
        }
        block.clear();
        Ok(block)
    }

    /// Adds the counts of one database to those of all.
    fn count(&mut self) {
        let (database, counts) = std::mem::take(&mut self.counting);
        if counts != Database::default() {
            let all = self.databases.entry(database).or_default();
            all.keys += counts.keys;
            all.left_out += counts.left_out;
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        for (group, block) in std::mem::take(&mut self.waiting) {
            if !block.data.is_empty() {
                self.write(group, block)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, read: Read) -> Result<Read, SourceError> {
        self.flush()?;
        self.lane.close()?;
        self.count();
        let Self { groups, databases, statements, modules, .. } = self;
        // What was read before something unknown is no fingerprint of anything.
        let groups = if read.unknown.is_some() { BTreeMap::new() } else { groups };
        Ok(Read { groups, databases, statements, modules, ..read })
    }
}

/// The hash of a key of the type `of` without its value, and the length of its name. Of a name that is not kept whole, its beginning and
/// its length stand for it.
fn key_of(head: &Head<'_>, of: &str) -> ([u8; 32], u64) {
    let (name, length) = match head.name {
        Name::Whole(name) => (name, name.len() as u64),
        Name::Long { start, length } => (start, length),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"a module's key").update(&head.db.to_le_bytes());
    hasher.update(&[u8::from(head.expires_ms.is_some())]).update(&head.expires_ms.unwrap_or_default().to_le_bytes());
    hasher.update(&(of.len() as u64).to_le_bytes()).update(of.as_bytes());
    hasher.update(&length.to_le_bytes()).update(name);
    (*hasher.finalize().as_bytes(), length)
}

impl Visitor for Keys {
    fn begin(&mut self, head: &Head<'_>) -> Raw {
        let wanted = &self.plan.wanted;
        if !wanted.is_everything() {
            let name = match head.name {
                Name::Whole(name) | Name::Long { start: name, .. } => name,
            };
            self.keep = !head.kind.is_key() || (wanted.has_database(head.db) && wanted.has_key(name));
            self.cuts.push(Cut::Begin { start: head.start, keep: self.keep });
        }
        Raw::Skip
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        let kind = entry.head.kind;
        if !self.plan.wanted.is_everything() {
            self.cuts.push(Cut::End { end: entry.end });
        }
        if let Kind::Module(id) | Kind::ModuleAux(id) = kind {
            self.modules.insert(id.name());
        }
        let keep = std::mem::replace(&mut self.keep, true);
        if kind.is_key() {
            if entry.head.db != self.counting.0 {
                self.count();
                self.counting.0 = entry.head.db;
            }
            self.counting.1.keys += u64::from(keep);
            self.counting.1.left_out += u64::from(!keep);
        }
        let opaque = match kind {
            Kind::Module(id) if self.plan.modules_apart && id.name() != VECTOR_SETS => Some(id.name()),
            _ => None,
        };
        self.unhashed.push_back(Unhashed {
            keep,
            group: match kind {
                Kind::Function => "functions",
                Kind::ModuleAux(_) => MODULE_DATA,
                _ if opaque.is_some() => MODULE_VALUES,
                key => key.name(),
            },
            database: kind.is_key().then_some(entry.head.db),
            bytes: entry.bytes,
            name: (keep && self.plan.names.is_some()).then(|| entry.head.name.start().to_vec()),
            key: opaque.map(|of| key_of(&entry.head, &of)),
        });
    }

    fn hashed(&mut self, hashed: &Hashed<'_>) {
        let record = self.unhashed.pop_front().expect("a record comes before its hash");
        let key = record.key.map(|(hash, length)| (MODULE_KEYS, length, hash));
        let own = (record.group, record.bytes, *hashed.hash);
        for (group, bytes, hash) in std::iter::once(own).chain(key) {
            if let (Some(names), Some(name)) = (&self.plan.names, &record.name) {
                names.note(&hash, name);
            }
            if record.keep && self.failure.is_none() {
                self.failure = self.digest(group, record.database, bytes, &hash).err();
            }
        }
    }

    fn sizes(&mut self, db: u64, keys: u64, _expiring: u64) {
        let stated = &mut self.databases.entry(db).or_default().stated;
        *stated = Some(stated.unwrap_or(0) + keys);
    }

    fn auxiliary(&mut self, name: &[u8], value: &[u8]) {
        if self.statements.len() < STATEMENTS_MAX {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            self.statements.insert(text(name), text(value));
        }
    }
}
