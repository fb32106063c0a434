//! One database from snapshot to record.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::catalog::{self, Listing, Rules, Sequence, Table};
use super::client::Client;
use super::programs::{self, Archive};
use super::record::{DatabaseRecord, Extension, TableRecord};
use super::server::Server;
use super::snapshot::{self, Held, Wanted};
use super::tables::{self, Plan, View};
use super::wire::{ConnectOptions, WireError};
use super::{failure, first_cause, inventory, session, small};
use crate::domain::record::{Instant, PartGroup};
use crate::domain::{Event, Gap, PartName, PartSink};
use crate::sources::bridge::LaneThread;
use crate::sources::{Context, SourceError};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What every database of a job shares.
pub(super) struct Job<'a> {
    pub(super) context: &'a Context,
    pub(super) sink: &'a Arc<dyn PartSink>,
    pub(super) server: &'a Server,
    pub(super) rules: &'a Rules,
    pub(super) lock_timeout: Duration,
    /// Absent when a recorded dump is repeated: the archive is not compared.
    pub(super) client: Option<&'a Client>,
    /// Groups to dump; empty means all, the inventory included.
    pub(super) only: &'a [String],
}

impl Job<'_> {
    /// Whether anything of the database is wanted.
    pub(super) fn concerns(&self, database: &str) -> bool {
        let prefix = format!("{}/", PartName::component(database));
        self.only.is_empty() || self.only.iter().any(|group| group.starts_with(&prefix))
    }

    fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == group)
    }
}

fn table_group(prefix: &str, table: &Table) -> String {
    format!("{prefix}/table/{}", PartName::component(&table.quoted))
}

/// One database's share of the record.
pub(super) struct Dumped {
    pub(super) record: DatabaseRecord,
    pub(super) instant: Instant,
    pub(super) groups: Vec<PartGroup>,
    pub(super) gaps: Vec<Gap>,
}

/// Dumps the database that `options` names. `like` is an earlier record to repeat: its columns and exclusions.
pub(super) async fn database(
    job: &Job<'_>,
    options: &ConnectOptions,
    like: Option<&DatabaseRecord>,
) -> Result<Dumped, SourceError> {
    let wanted = Wanted { options, rules: job.rules, standby: job.server.standby, lock_timeout: job.lock_timeout };
    let mut held = snapshot::take(&wanted, &job.context.cancel).await?;
    let name = like.map_or(options.database.as_str(), |like| like.name.as_str());
    let prefix = PartName::component(name);
    let part = |what: &str| PartName::from_components(&[&prefix, what]);

    let mut record = describe(&mut held, name).await?;
    let sequences = catalog::sequences(&mut held.leader, &held.listing, job.rules).await?;
    refuse_unreadable(&sequences, &options.place())?;
    record.sequence_count = sequences.len() as u64;
    (record.sequences, record.large_objects, record.inventory) =
        (part("sequences"), part("large-objects"), part("inventory"));
    record.archive = job.client.map(|_| part("archive"));
    if let Some(like) = like {
        record.excluded_schemas.clone_from(&like.excluded_schemas);
        record.excluded_tables.clone_from(&like.excluded_tables);
    }
    let mut gaps = gaps(&held.listing, job.server.standby);
    let skip = like.map_or(&[][..], |like| &like.unlisted_kinds);

    let plan = Arc::new(plan(&prefix, &held.listing, job, like));
    record.unlisted_kinds = Box::pin(run(job, options, &mut held, &plan, (&record, skip), &sequences)).await?;
    gaps.extend(record.unlisted_kinds.iter().map(|kind| Gap {
        what: format!("comparison of objects of kind `{kind}`"),
        why: "permission denied: the role could not list them".to_owned(),
    }));

    let Held { mut leader, at, .. } = held;
    // The locks held until here: nothing was truncated, rewritten or dropped under the copies.
    leader
        .execute("COMMIT")
        .await
        .map_err(|error| failure::wire(format!("end of the snapshot of {}", options.place()), error))?;
    leader.close().await;

    let mut groups = Vec::with_capacity(plan.tables.len());
    for (index, planned) in plan.tables.iter().enumerate() {
        let rows = plan.rows(index);
        groups.push(PartGroup {
            name: table_group(&prefix, &planned.table),
            parts: planned.parts.clone(),
            engine_count: Some(rows),
            compared: true,
        });
        record.tables.push(TableRecord {
            schema: planned.table.schema.clone(),
            name: planned.table.name.clone(),
            columns: planned.columns.clone(),
            parts: planned.parts.clone(),
            rows,
            size_bytes: planned.table.heap_bytes + planned.table.toast_bytes,
            filtered: planned.table.filter.as_ref().is_some_and(|filter| !filter.is_empty()),
        });
    }
    let small = |part: &PartName| PartGroup {
        name: part.as_str().to_owned(),
        parts: vec![part.clone()],
        engine_count: None,
        compared: true,
    };
    let others = [&record.sequences, &record.large_objects];
    groups.extend(others.into_iter().filter(|part| job.wants(part.as_str())).map(small));
    Ok(Dumped { instant: Instant { of: format!("database {name}"), at }, record, groups, gaps })
}

/// Runs everything that depends on the snapshot at once; the first failure ends the rest. Returns the kinds of objects that
/// could not be listed; those in `skip` are not asked for.
async fn run(
    job: &Job<'_>,
    options: &ConnectOptions,
    held: &mut Held,
    plan: &Arc<Plan>,
    (record, skip): (&DatabaseRecord, &[String]),
    sequences: &[Sequence],
) -> Result<Vec<String>, SourceError> {
    let context = job.context;
    let view = View {
        options: options.clone(),
        snapshot: held.id.clone(),
        lock_timeout: job.lock_timeout,
        cancel: context.cancel.child_token(),
    };
    // Also where this future is dropped: no session outlives its dump.
    let sessions = view.cancel.clone().drop_guard();
    let mut copying = tables::start(&view, plan, job.sink, context.lanes.max(1));
    let (leader, listing, snapshot) = (&mut held.leader, &held.listing, &held.id);

    let archive = async {
        let (Some(client), Some(part)) = (job.client, &record.archive) else { return Ok(()) };
        let lock_timeout = job.lock_timeout;
        let archive = Archive { client, options, snapshot, listing, lock_timeout, part: part.clone() };
        programs::archive(context, &archive, job.sink).await
    };
    let led = async {
        let mut lane = LaneThread::start(job.sink);
        let small = async {
            if job.wants(record.sequences.as_str()) {
                small::sequences(leader, sequences, &mut lane, record.sequences.clone()).await?;
            }
            if job.wants(record.large_objects.as_str()) {
                small::large_objects(leader, &mut lane, record.large_objects.clone()).await?;
            }
            if !job.only.is_empty() {
                return Ok(vec![]);
            }
            let queries = inventory::queries(job.server.version_num, &record.exclusions());
            let asked = queries.into_iter().filter(|query| !skip.iter().any(|kind| kind == query.kind));
            small::inventory(leader, asked, &mut lane, record.inventory.clone()).await
        };
        let (unlisted, ()) = first_cause::both(small, first_cause::all(&mut copying)).await?;
        tables::copy_blocked(leader, plan, &mut lane).await?;
        lane.close().await?;
        Ok::<_, SourceError>(unlisted)
    };
    let work = async { first_cause::both(archive, led).await.map(|((), unlisted)| unlisted) };
    let result = tokio::select! {
        result = work => result,
        () = context.cancel.cancelled() => Err(SourceError::Cancelled),
        () = tell(context, plan) => unreachable!("progress is told for ever"),
    };
    drop(sessions);
    copying.shutdown().await;
    match result {
        Err(error) if !matches!(error, SourceError::Cancelled) => Err(cause(held, options, error).await),
        result => result,
    }
}

/// When the server ends the leader's session, the snapshot is gone, and others may notice that first.
async fn cause(held: &mut Held, options: &ConnectOptions, error: SourceError) -> SourceError {
    let ended = held.leader.why_ended().await;
    ended.map_or(error, |why| failure::wire(format!("session that holds the snapshot of {}", options.place()), why))
}

async fn tell(context: &Context, plan: &Plan) {
    let mut ticks = tokio::time::interval(TELL_EVERY);
    loop {
        ticks.tick().await;
        context.progress.event(Event::Advance {
            job: context.job.clone(),
            phase: "dump".to_owned(),
            done_bytes: plan.done_bytes.load(Ordering::Relaxed),
            total_bytes: Some(plan.total_bytes),
        });
    }
}

/// Tables with rows and the columns to read. A repeated dump keeps the recorded order, since a restored table may have
/// another; where the columns themselves differ, the table's own are read and the comparison says so.
fn plan(prefix: &str, listing: &Listing, job: &Job<'_>, like: Option<&DatabaseRecord>) -> Plan {
    let recorded: HashMap<(&str, &str), &TableRecord> = like
        .map(|like| like.tables.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table)).collect())
        .unwrap_or_default();
    let columns = |table: &Table| {
        let Some(like) = recorded.get(&(table.schema.as_str(), table.name.as_str())) else {
            return table.columns.clone();
        };
        let sorted = |columns: &[String]| {
            let mut columns = columns.to_vec();
            columns.sort();
            columns
        };
        if sorted(&like.columns) == sorted(&table.columns) { like.columns.clone() } else { table.columns.clone() }
    };
    let only: HashSet<&str> = job.only.iter().map(String::as_str).collect();
    let tables = listing.tables.iter().filter(|table| {
        table.holds_rows(job.server.standby) && (only.is_empty() || only.contains(table_group(prefix, table).as_str()))
    });
    Plan::make(prefix, tables.map(|table| (table.clone(), columns(table))).collect(), job.server.version_num)
}

pub(super) fn gaps(listing: &Listing, standby: bool) -> Vec<Gap> {
    let mut gaps = listing.gaps.clone();
    for table in &listing.tables {
        let why = match table.kind {
            'f' => "foreign table: no data of its own",
            'r' if standby && table.unlogged => "unlogged: its rows are not on a standby",
            _ => continue,
        };
        gaps.push(Gap { what: format!("rows of table {}", table.quoted), why: why.to_owned() });
    }
    gaps
}

pub(super) fn refuse_unreadable(sequences: &[Sequence], place: &str) -> Result<(), SourceError> {
    let unreadable: Vec<&str> =
        sequences.iter().filter(|sequence| !sequence.readable).map(|sequence| sequence.quoted.as_str()).collect();
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(SourceError::Refused {
        what: format!("backup of {place}"),
        why: format!("permission denied for {} sequences, such as {}", unreadable.len(), unreadable[0]),
        hint: "`GRANT SELECT ON ALL SEQUENCES IN SCHEMA schema TO role`, or `GRANT pg_read_all_data TO role`"
            .to_owned(),
    })
}

async fn describe(held: &mut Held, name: &str) -> Result<DatabaseRecord, SourceError> {
    let place = held.leader.options().place();
    let fail = |error: WireError| failure::wire(format!("description of {place}"), error);
    let extensions: Vec<Extension> = catalog::extensions(&mut held.leader).await?;
    let version = session::version_num(&mut held.leader).await?;
    let collations = catalog::collations(&mut held.leader, version).await?;
    let rules = if version >= 160_000 { "daticurules" } else { "NULL::text" };
    // The provider's own locale has had three homes.
    let (provider, locale) = match version {
        170_000.. => ("datlocprovider::text", "datlocale"),
        150_000.. => ("datlocprovider::text", "daticulocale"),
        _ => ("'c'", "NULL::text"),
    };
    let sql = format!(
        "SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype, {provider}, {locale}, \
         pg_catalog.pg_database_size(oid), (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class), \
         NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'public'), {rules} \
         FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
    );
    let row = held.leader.query_one(&sql).await.map_err(fail)?;
    let text = |column| row.text(column).unwrap_or_default().to_owned();
    let encoding = text(0);
    let locale_provider = match row.text(3) {
        Some("i") => "icu",
        Some("b") => "builtin",
        _ => "libc",
    };
    Ok(DatabaseRecord {
        name: name.to_owned(),
        text_encoding: session::text_encoding(&encoding).to_owned(),
        encoding,
        collate: text(1),
        ctype: text(2),
        locale_provider: locale_provider.to_owned(),
        locale: row.text(4).map(str::to_owned),
        locale_rules: row.text(8).map(str::to_owned),
        collations,
        size_bytes: row.number(5).map_err(fail)?,
        relation_count: row.number(6).map_err(fail)?,
        without_public: row.flag(7).map_err(fail)?,
        without_plpgsql: !extensions.iter().any(|extension| extension.name == "plpgsql"),
        unlisted_kinds: vec![],
        extensions,
        excluded_schemas: held.listing.excluded.schemas.clone(),
        excluded_tables: held.listing.excluded.tables.clone(),
        archive: None,
        sequences: PartName::from_components(&["sequences"]),
        large_objects: PartName::from_components(&["large-objects"]),
        inventory: PartName::from_components(&["inventory"]),
        tables: Vec::new(),
        sequence_count: 0,
    })
}
