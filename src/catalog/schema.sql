-- Version 1. Times are RFC 3339, UTC; JSON columns hold what only reports read.
create table runs (
    id text primary key,
    verb text not null,
    job text not null,
    started text not null,
    finished text,
    outcome text not null,          -- running, done, partial, failed, unproven, skipped, cancelled
    snapshot text,
    target text,
    bytes_read integer not null default 0,
    bytes_stored integer not null default 0,
    message text not null default ''
) strict;
create index runs_by_job on runs (job, started);

create table snapshots (
    id text primary key,
    job text not null,
    writer text not null,
    sequence integer not null,
    root_sum text not null,
    started text not null,
    finished text not null,
    raw_bytes integer not null,
    added_bytes integer not null,
    rows integer not null,
    instants text not null,
    gaps text not null
) strict;
create index snapshots_by_job on snapshots (job, started);

create table copies (
    snapshot text not null,
    target text not null,
    place text not null,
    state text not null,            -- committed, lagging, failed
    at text,
    error text not null default '',
    primary key (snapshot, target)
) strict;

create table proofs (
    id text primary key,
    job text not null,
    snapshot text not null,
    target text not null,
    dumped_at text not null,
    started text not null,
    finished text not null,
    verdict text not null,          -- JSON
    measured text not null          -- JSON
) strict;
create index proofs_by_job on proofs (job, target, finished);
