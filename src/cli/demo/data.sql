-- A small social network: what the demo backs up. Deterministic but for the clock.
create extension pg_trgm;

create role social_owner nologin;
create role social_app login in role social_owner;
create role social_reader nologin;
alter role social_app set statement_timeout = '30s';

create schema social authorization social_owner;
create type social.visibility as enum ('public', 'followers', 'direct');
create domain social.handle as text check (value ~ '^[a-z0-9_]{1,30}$');

create table social.accounts (
    id bigint generated always as identity primary key,
    handle social.handle not null unique,
    display_name text not null,
    settings jsonb not null default '{}',
    avatar bytea,
    created_at timestamptz not null
);

create table social.statuses (
    id bigint primary key,
    account_id bigint not null references social.accounts,
    body text not null,
    tags text[] not null default '{}',
    visibility social.visibility not null default 'public',
    metrics jsonb not null default '{}',
    created_at timestamptz not null,
    body_length int generated always as (length(body)) stored
);
create sequence social.status_ids owned by social.statuses.id;

create table social.follows (
    follower_id bigint not null references social.accounts,
    followed_id bigint not null references social.accounts,
    since timestamptz not null,
    primary key (follower_id, followed_id),
    check (follower_id <> followed_id)
);

create table social.events (
    at timestamptz not null,
    account_id bigint not null,
    kind text not null,
    detail jsonb
) partition by range (at);
create table social.events_2025 partition of social.events for values from ('2025-01-01') to ('2026-01-01');
create table social.events_2026 partition of social.events for values from ('2026-01-01') to ('2027-01-01');
create table social.events_rest partition of social.events default;

insert into social.accounts (handle, display_name, settings, avatar, created_at)
select 'user_' || n,
       initcap(substr('ada grace edsger barbara donald alan katherine dennis', 1 + n % 40, 8)),
       jsonb_build_object('theme', case n % 3 when 0 then 'dark' else 'light' end, 'mail', n % 2 = 0, 'n', n),
       case when n % 5 = 0 then decode(repeat(md5(n::text), 16), 'hex') end,
       now() - (n || ' minutes')::interval
from generate_series(1, 20000) n;

insert into social.statuses (id, account_id, body, tags, visibility, metrics, created_at)
select nextval('social.status_ids'), 1 + (n * 7919) % 20000,
       (select string_agg(word, ' ' order by ord)
        from unnest(array['harbour', 'light', 'the', 'keeps', 'sea', 'a', 'lifeboat', 'ready', 'when', 'storm', 'comes', 'home'])
             with ordinality as words(word, ord)
        where (n * ord) % 5 < 3) || ' ' || md5(n::text),
       array['tag' || n % 50, 'tag' || n % 7],
       (array['public', 'public', 'followers', 'direct'])[1 + n % 4]::social.visibility,
       jsonb_build_object('likes', n % 100, 'shares', n % 9),
       now() - (n || ' seconds')::interval
from generate_series(1, 120000) n;

insert into social.follows
select 1 + n % 20000, 1 + (n % 20000 + 1 + (n * 31) % 19998) % 20000, now() - (n || ' seconds')::interval
from generate_series(1, 60000) n
on conflict do nothing;

insert into social.events
select timestamptz '2025-06-01' + (n || ' minutes')::interval * 20, 1 + n % 20000, 'login',
       jsonb_build_object('ip', '10.0.' || n % 256 || '.' || n % 251)
from generate_series(1, 40000) n;

create index on social.statuses (account_id, created_at desc);
create index on social.statuses using gin (body gin_trgm_ops) where visibility = 'public';
create index on social.events (account_id);

create view social.timeline with (security_barrier) as
    select s.id, a.handle, s.body, s.created_at
    from social.statuses s join social.accounts a on a.id = s.account_id where s.visibility = 'public';
create materialized view social.busiest as
    select account_id, count(*) as statuses from social.statuses group by account_id;

create function social.touch() returns trigger language plpgsql as
    $$ begin new.created_at := coalesce(new.created_at, now()); return new; end $$;
create trigger touch before insert on social.statuses for each row execute function social.touch();

alter table social.statuses enable row level security;
create policy readers on social.statuses for select to social_reader using (visibility = 'public');
grant usage on schema social to social_reader;
grant select on social.timeline, social.statuses to social_reader;
comment on table social.statuses is 'what people said';
select lo_from_bytea(0, decode(repeat('4c6966656265666f7265', 5000), 'hex'));
analyze;
