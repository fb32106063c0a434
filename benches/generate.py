"""Writes the bench's database: a small social network whose `statuses` hold most of the bytes.

Everything follows from one seed, so that two runs on two machines measure the same bytes. Texts are drawn from a word list with
a natural skew (few words are frequent, most are rare) and a stock of phrases that people repeat, so that zstd -3 finds
about 5:1, as it does in dumps of real networks.
"""

import json
import random
import subprocess

SEED = 20_260_821

# Rows at scale 1: 3.2 million.
ROWS = {
    "accounts": 60_000,
    "statuses": 2_500_000,
    "favourites": 400_000,
    "follows": 150_000,
    "tags": 5_000,
    "statuses_tags": 60_000,
    "media": 50_000,
}

SCHEMA = """
create table accounts (
    id bigint primary key, username text not null unique, display_name text not null, note text not null,
    created_at timestamptz not null, settings jsonb not null, followers integer not null);
create table statuses (
    id bigint primary key, account_id bigint not null, created_at timestamptz not null, visibility smallint not null,
    language text not null, in_reply_to bigint, text text not null, meta jsonb not null, favourites integer not null);
create table favourites (id bigint primary key, account_id bigint not null, status_id bigint not null,
    created_at timestamptz not null);
create table follows (account_id bigint not null, target_id bigint not null, created_at timestamptz not null);
create table tags (id bigint primary key, name text not null);
create table statuses_tags (status_id bigint not null, tag_id bigint not null);
create table media (id bigint primary key, status_id bigint not null, file_name text not null, sha256 bytea not null,
    meta jsonb not null);
"""

INDEXES = """
alter table statuses add foreign key (account_id) references accounts;
create index on statuses (account_id, id desc);
create index on statuses (in_reply_to) where in_reply_to is not null;
alter table favourites add foreign key (account_id) references accounts;
alter table favourites add foreign key (status_id) references statuses;
create index on favourites (status_id);
alter table follows add primary key (account_id, target_id);
alter table follows add foreign key (account_id) references accounts;
alter table follows add foreign key (target_id) references accounts;
create unique index on tags (lower(name));
alter table statuses_tags add primary key (status_id, tag_id);
alter table statuses_tags add foreign key (status_id) references statuses;
alter table statuses_tags add foreign key (tag_id) references tags;
alter table media add foreign key (status_id) references statuses;
create index on media (status_id);
vacuum analyze;
"""

SYLLABLES = (
    "ba be bo da de di do fa fe ga go ha he hi ka ke ki ko la le li lo ma me mi mo na ne ni no pa pe po ra re ri ro sa se "
    "si so ta te ti to va ve vi wa we wi za ze an en in on ar er or al el ol as es is ur um um tion ing ment ness able"
).split()


class Writer:
    """Draws the words, phrases and rows."""

    def __init__(self, scale):
        self.random = random.Random(SEED)
        self.rows = {table: max(50, int(count * scale)) for table, count in ROWS.items()}
        draw = self.random
        words = sorted({"".join(draw.choices(SYLLABLES, k=draw.choice((1, 2, 2, 3, 3, 4)))) for _ in range(12_000)})
        draw.shuffle(words)
        # Zipf's law, near enough: the word of rank n has weight 1/n.
        weights = [1 / (rank + 3) for rank in range(len(words))]
        self.words = draw.choices(words, weights, k=400_000)
        phrases = [" ".join(draw.choices(self.words, k=draw.randint(5, 13))) for _ in range(20_000)]
        self.phrases = draw.choices(phrases, [1 / (rank + 50) for rank in range(len(phrases))], k=400_000)
        self.clients = ["web", "phone app 4.1.2", "phone app 4.2.0", "tablet", "bot/1.0 (+https://bots.example)"]

    def text(self, phrases, words):
        """Some phrases that others wrote too, and some words of one's own."""
        pick = self.random.choices
        return ". ".join(pick(self.phrases, k=phrases)) + ", " + " ".join(pick(self.words, k=words))

    def time(self, share):
        """A time `share` of the way through three years."""
        second = int(share * 94_608_000)
        day, rest = divmod(second, 86_400)
        month, day = divmod(day, 28)
        clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}.{self.random.randrange(1000):03}"
        return f"{2023 + month // 12}-{month % 12 + 1:02}-{day + 1:02} {clock}+00"

    def id(self, table):
        return self.random.randint(1, self.rows[table])

    def row(self, table, n):
        share = n / self.rows[table]
        draw = self.random
        if table == "accounts":
            settings = {"theme": draw.choice(("dark", "light", "auto")), "notify": draw.random() < 0.5, "digest": n % 7}
            name = draw.choice(self.words)
            return (n, f"{name}_{n}", name.title(), self.text(1, 6), self.time(share * 0.9), json.dumps(settings), n % 977)
        if table == "statuses":
            return self.status(n, share)
        if table == "favourites":
            return (n, self.id("accounts"), self.id("statuses"), self.time(share))
        if table == "follows":
            # Pairs must differ: the offset walks, so that no pair comes twice.
            accounts = self.rows["accounts"]
            return (n % accounts + 1, (n + n // accounts + 1) % accounts + 1, self.time(share))
        if table == "tags":
            return (n, f"{draw.choice(self.words)}{n}")
        if table == "statuses_tags":
            return (n * (self.rows["statuses"] // self.rows["statuses_tags"]), self.id("tags"))
        blob = draw.randbytes(32).hex()
        meta = {"width": draw.choice((640, 1080, 1920)), "height": draw.choice((480, 720, 1080)), "blurhash": blob[:20]}
        return (n, self.id("statuses"), f"media/{blob[:3]}/{blob[3:16]}.jpg", f"\\\\x{blob}", json.dumps(meta))

    def status(self, n, share):
        draw = self.random
        meta = {
            "application": {"name": draw.choice(self.clients), "website": None},
            "sensitive": draw.random() < 0.04,
            "edits": 0,
            "mentions": [self.id("accounts") for _ in range(draw.choice((0, 0, 0, 1, 2)))],
        }
        reply = draw.randint(max(1, n - 5000), n) if draw.random() < 0.3 and n > 1 else "\\N"
        language = draw.choice(("en", "en", "en", "de", "fr", "ja"))
        text = self.text(draw.choice((1, 2, 3, 3, 4)), draw.choice((1, 1, 2, 3)))
        visibility = draw.choice((0, 0, 0, 1, 2))
        return (n, self.id("accounts"), self.time(share), visibility, language, reply, text, json.dumps(meta), n * 7 % 83)


def copy_rows(psql, writer, table, numbers):
    """Streams rows into a table through `psql` (a command that ends before `-c`)."""
    child = subprocess.Popen([*psql, "-c", f"copy {table} from stdin"], stdin=subprocess.PIPE, text=True)
    lines = []
    for n in numbers:
        lines.append("\t".join(map(str, writer.row(table, n))) + "\n")
        if len(lines) == 2000:
            child.stdin.write("".join(lines))
            lines = []
    child.stdin.write("".join(lines))
    child.stdin.close()
    if child.wait() != 0:
        raise SystemExit(f"loading `{table}` failed")


def generate(psql, scale):
    """Fills an empty database; returns what later changes need."""
    subprocess.run([*psql, "-c", SCHEMA], check=True)
    writer = Writer(scale)
    for table, count in writer.rows.items():
        copy_rows(psql, writer, table, range(1, count + 1))
    # `vacuum` refuses to run inside the one transaction that several statements in one -c make.
    for statement in filter(str.strip, INDEXES.split(";")):
        subprocess.run([*psql, "-c", statement], check=True)
    return writer


def change(psql, writer):
    """1,000 random updates and 10,000 appended rows in `statuses`."""
    count = writer.rows["statuses"]
    ids = ",".join(str(n) for n in writer.random.sample(range(1, count + 1), min(1000, count)))
    subprocess.run([*psql, "-c", f"update statuses set text = text || ' (edited)' where id in ({ids})"], check=True)
    copy_rows(psql, writer, "statuses", range(count + 1, count + 10_001))


def many_tables(psql, count):
    """`count` small tables, in batches that a transaction's lock table holds."""
    for first in range(0, count, 500):
        batch = "".join(
            f"create table t{n:05} (id int primary key, body text); insert into t{n:05} values (1, 'one'), (2, 'two');"
            for n in range(first, min(first + 500, count))
        )
        subprocess.run([*psql], input=batch, text=True, check=True)


def huge_row(psql, mebibytes):
    """One row of one value of so many MiB that does not compress away."""
    body = f"select string_agg(md5(n::text), '') from generate_series(1, {mebibytes} * 32768) n"
    subprocess.run([*psql, "-c", f"create table huge as select 1 as id, ({body}) as body"], check=True)
