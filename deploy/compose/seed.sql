-- A little shop, so that there is something to lose.
create table customers (
    id bigint generated always as identity primary key,
    name text not null,
    address jsonb not null default '{}',
    since timestamptz not null default now()
);
create table orders (
    id bigint generated always as identity primary key,
    customer bigint not null references customers,
    placed timestamptz not null,
    items text[] not null,
    total numeric(12, 2) not null check (total >= 0)
);
create index on orders (customer, placed);
insert into customers (name, address)
select 'customer ' || n, jsonb_build_object('city', (array['Oslo', 'Lagos', 'Lima'])[1 + n % 3]) from generate_series(1, 500) n;
insert into orders (customer, placed, items, total)
select 1 + n % 500, now() - n * interval '3 minutes', array['item ' || n % 40, 'item ' || n % 7], (n % 9000) / 100.0
from generate_series(1, 20000) n;
