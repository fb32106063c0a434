-- A day in the life: a few rows change, some arrive, some go.
update social.statuses set body = body || ' (edited)' where id % 2500 = 0;
delete from social.follows where follower_id % 4000 = 17;
insert into social.statuses (id, account_id, body, created_at)
select nextval('social.status_ids'), 1 + n, 'good morning from the harbour, ' || repeat(md5(n::text) || ' ', 6), now() from generate_series(1, 500) n;
update social.accounts set settings = settings || '{"theme": "sea"}' where id = 4711;
