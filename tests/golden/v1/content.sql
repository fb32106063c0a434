-- What a restore must answer; expected.txt holds the answers.
select count(*), md5(string_agg(u::text, '' order by id)) from users u;
select count(*), md5(string_agg(p::text, '' order by id)) from posts p;
select string_agg(o::text, '' order by a) from "My Schema"."it's an ""odd"" name é" o;
select count(*) from empty;
select last_value, is_called from tickets;
select md5(lo_get(4711));
select string_agg(id::text, ',' order by id) from recent;
select string_agg(conname, ',' order by conname) from pg_constraint where connamespace = 'public'::regnamespace;
select string_agg(indexname, ',' order by indexname) from pg_indexes where schemaname = 'public';
