-- The source of the golden repository: the same content whenever and wherever it runs.
create table public.users (id bigint generated always as identity primary key, name text not null, seen date);
insert into users (name, seen)
    select E'tab\t line\nslash\\ ' || md5(n::text), date '2020-01-01' + n from generate_series(1, 900) n;
create table public.posts (id serial primary key, author bigint references users, body bytea, tags text[], doc jsonb);
insert into posts (author, body, tags, doc)
    select n, sha256(n::text::bytea), array['a', null, n::text], jsonb_build_object('n', n, 'half', n / 2.0)
    from generate_series(1, 500) n;
create index posts_tags on posts using gin (tags);
create schema "My Schema";
create table "My Schema"."it's an ""odd"" name é" (a int, b text);
insert into "My Schema"."it's an ""odd"" name é" values (1, '\.'), (2, null), (3, '');
create table public.empty (a int);
create view public.recent as select * from posts order by id desc limit 3;
create sequence public.tickets start 1000 increment 7;
select setval('public.tickets', 4242);
select lo_from_bytea(4711, decode(repeat('c0ffee', 2000), 'hex'));
