"""Measures Lifeboat against the standard tools, in one run, as ratios; `benches/bench.sh` starts it.

Both sides of a row run in turns (A B A B ...) on the same server and the same two cores, and the ratio is the median of the
pairs' ratios: a noisy neighbour meets both. The limits are the ones that Lifeboat promises; a row that misses its own says so
and the bench exits 1.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import generate
import measure
import redis_rows
import tree_rows
from cluster import Cluster

MIB = 1 << 20
PEAK_MAX = 256 * MIB
HUGE_ROW_MIB = 64
MANY_TABLES = 20_000


class Table:
    """The rows of the result."""

    HEAD = ("measure", "ours", "theirs", "ratio", "must reach", "")

    def __init__(self):
        self.rows, self.missed = [], False

    def ratio(self, name, ours, theirs, limit, show):
        """`ours` and `theirs` are the pairs' values."""
        ratio = measure.median([a / b for a, b in zip(ours, theirs)])
        self.add(name, show(measure.median(ours)), show(measure.median(theirs)), f"{ratio:.3f}", f"<= {limit}", ratio <= limit)

    def at_most(self, name, ours, limit, show, theirs="-"):
        self.add(name, show(ours), theirs, "-", f"<= {show(limit)}", ours <= limit)

    def note(self, name, ours, theirs):
        self.add(name, ours, theirs, "-", "-", None)

    def add(self, name, ours, theirs, ratio, limit, good):
        verdict = {True: "ok", False: "MISSED", None: ""}[good]
        self.missed |= good is False
        self.rows.append((name, ours, theirs, ratio, limit, verdict))
        say(f"  {name}: ours {ours}, theirs {theirs}, ratio {ratio}, must reach {limit} {verdict}")

    def print(self):
        widths = [max(len(row[i]) for row in [self.HEAD, *self.rows]) for i in range(len(self.HEAD))]
        for row in [self.HEAD, tuple("-" * width for width in widths), *self.rows]:
            print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")


class Lifeboat:
    """One installation: a configuration, its state and its targets."""

    def __init__(self, binary, home, url, targets, job="bench", kind="postgres", source=None):
        self.binary, self.home, self.job = binary, home, job
        self.targets = [home / f"target-{n + 1}" for n in range(targets)]
        self.source = source or f'type = "{kind}"\nurl = "{url}"\n'
        self.wipe()

    def wipe(self):
        """As before the first backup, but for the keys."""
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home / "jobs").mkdir(parents=True)
        identity = self.home / "identity.txt"
        subprocess.run(["age-keygen", "-o", identity], check=True, stderr=subprocess.DEVNULL)
        recipient = subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True, text=True).stdout.strip()
        lines = [
            'state = "state"',
            f'[keys]\nrecipients = ["{recipient}"]\nidentity = {{ file = "identity.txt" }}',
            *(f'[targets.{path.name}]\ntype = "directory"\npath = "{path.name}"' for path in self.targets),
        ]
        (self.home / "lifeboat.toml").write_text("\n".join(lines) + "\n")
        (self.home / "jobs" / f"{self.job}.toml").write_text(f"[source]\n{self.source}")

    def run(self, *args):
        command = [self.binary, "-c", self.home / "lifeboat.toml", "--no-input", *args]
        return measure.run(command, cwd=self.home, log=self.home / "log")

    def backup(self):
        return self.run("backup", "now", self.job)

    def first_backup(self):
        self.wipe()
        return self.backup()

    def restore(self, url):
        return self.run("restore", f"{self.job}@latest", "--to", url)

    def stored(self):
        """Bytes in the first target."""
        return measure.size_of(self.targets[0])


class Restic:
    name = "restic"

    def __init__(self, home):
        self.repository = home / "restic"
        self.env = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(home / "restic-cache")}
        measure.run(["restic", "init", "-r", self.repository], env=self.env)

    def backup(self, dump, _):
        pipe = f"{dump} | restic -q -r '{self.repository}' backup --stdin --stdin-filename bench.sql"
        return measure.run(pipe, env=self.env)


class Borg:
    name = "borg"

    def __init__(self, home):
        self.repository = home / "borg"
        self.env = {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(home / "borg-base")}
        measure.run(["borg", "init", "-e", "repokey", self.repository], env=self.env)

    def backup(self, dump, name):
        return measure.run(f"{dump} | borg create --compression zstd,3 '{self.repository}::{name}' -", env=self.env)


class Others:
    """restic and borg on the plain dump, where they are installed; a list of (tool, costs, sizes)."""

    def __init__(self, home, dump):
        self.dump = dump
        self.tools = [tool(home) for tool in (Restic, Borg) if shutil.which(tool.name)]
        self.sizes = {tool.name: [measure.size_of(tool.repository)] for tool in self.tools}

    def backup(self, name, table):
        for tool in self.tools:
            cost = tool.backup(self.dump, name)
            self.sizes[tool.name].append(measure.size_of(tool.repository))
            table.note(f"{tool.name}, {name}", "-", f"{seconds(cost.wall)}, {size(self.added(tool.name))} stored")

    def added(self, name):
        before, after = self.sizes[name][-2:]
        return after - before


def say(text):
    print(text, file=sys.stderr, flush=True)


def seconds(value):
    return f"{value:.2f} s"


def size(value):
    return f"{value / 1e6:.2f} MB"


def mebibytes(value):
    return f"{value / MIB:.0f} MiB"


class Show:
    """How values are written."""

    seconds, size, mebibytes = staticmethod(seconds), staticmethod(size), staticmethod(mebibytes)


class Bench:
    peak_max = PEAK_MAX

    def __init__(self, options, home):
        self.options, self.home, self.table = options, home, Table()
        self.rounds = options.rounds
        self.backup_peaks, self.restore_peaks = [], []

    def run(self):
        if self.options.only in (None, "postgres"):
            self.postgres()
        if self.options.only in (None, "redis") and not self.options.reference_only:
            self.redis()
        if self.options.only in (None, "files", "objects") and not self.options.reference_only:
            self.files()

    def files(self):
        def installed(name, source):
            return Lifeboat(self.options.lifeboat, self.home / name, None, 1, source=source)

        tree_rows.rows(self, installed, say, Show)

    def redis(self):
        def installed(name, url):
            return Lifeboat(self.options.lifeboat, self.home / name, url, 1, kind="redis")

        redis_rows.rows(self, installed, say, Show)

    def postgres(self):
        with Cluster(self.home, "source") as self.source:
            self.source.create("bench")
            say("generating ...")
            self.writer = generate.generate(self.source.psql("bench"), self.options.scale)
            self.describe()
            # The reference's key is of no interest later.
            key = self.home / "reference.key"
            subprocess.run(["age-keygen", "-o", key], check=True, stderr=subprocess.DEVNULL)
            self.recipient = subprocess.run(
                ["age-keygen", "-y", key], check=True, capture_output=True, text=True
            ).stdout.strip()
            self.pg_dump = self.source.client("pg_dump") + " -d bench"
            if self.options.reference_only:
                self.reference()
            else:
                self.compare()

    def describe(self):
        totals = {}
        for table in generate.ROWS:
            counted = f"{self.source.client('psql')} -X -d bench -c 'copy {table} to stdout' | wc -c"
            totals[table] = int(subprocess.run(["bash", "-o", "pipefail", "-c", counted], check=True, capture_output=True).stdout)
        total, rows = sum(totals.values()), sum(self.writer.rows.values())
        share = totals["statuses"] / total
        version = self.source.query("bench", "show server_version").strip()
        print(f"{rows} rows, {size(total)} of COPY text, {share:.0%} of it in `statuses`; Postgres {version}, fsync on,")
        print(f"shared_buffers 512MB, server on the same {os.cpu_count()} cores; {self.rounds} rounds, medians of the ratios")
        if self.options.scale >= 1 and (total < 900e6 or share < 0.8):
            raise SystemExit("the generated database is not what the bench promises: 900 MB, 80 % in one table")

    # The other side of each row.

    def pipeline(self):
        out = self.home / "reference.age"
        return measure.run(f"{self.pg_dump} -Fc -Z0 | zstd -q -3 -T2 | age -r {self.recipient} > '{out}'")

    def plain_dump(self):
        return measure.run(f"{self.pg_dump} -Fp > /dev/null")

    def compressed_size(self):
        out = self.home / "reference.zst"
        measure.run(f"{self.pg_dump} -Fc -Z0 | zstd -q -3 > '{out}'")
        return out.stat().st_size

    def pg_restore(self, cluster):
        cluster.create("bench")
        return measure.run(f"{cluster.client('pg_restore')} -d bench -j2 '{self.home / 'local.dump'}'")

    def reference(self):
        """The other sides alone: checks the bench, and says what there is to beat."""
        others = Others(self.home, f"{self.pg_dump} -Fp")
        others.backup("first", self.table)
        costs = [self.pipeline() for _ in range(self.rounds)]
        self.table.note("first backup, wall", "-", seconds(measure.median([cost.wall for cost in costs])))
        self.table.note("first backup, CPU", "-", seconds(measure.median([cost.cpu for cost in costs])))
        dumps = [self.plain_dump().wall for _ in range(self.rounds)]
        self.table.note("pg_dump -Fp > /dev/null", "-", seconds(measure.median(dumps)))
        self.table.note("pg_dump -Fc -Z0 | zstd -3, size", "-", size(self.compressed_size()))
        others.backup("unchanged", self.table)
        generate.change(self.source.psql("bench"), self.writer)
        others.backup("changed", self.table)
        measure.run(f"{self.pg_dump} -Fc -Z0 -f '{self.home / 'local.dump'}'")
        with Cluster(self.home, "destination") as destination:
            loads = [self.pg_restore(destination).wall for _ in range(self.rounds)]
        self.table.note("pg_restore -j2", "-", seconds(measure.median(loads)))

    # Both sides.

    def compare(self):
        one = self.lifeboat("one", "bench", 1)
        others = Others(self.home, f"{self.pg_dump} -Fp")
        self.first(one)
        others.backup("first", self.table)
        self.unchanged(one)
        others.backup("unchanged", self.table)
        self.changed(one, others)
        self.fan_out()
        self.restores(one)
        self.peaks()

    def lifeboat(self, name, database, targets):
        return Lifeboat(self.options.lifeboat, self.home / name, self.source.url(database), targets)

    def backup(self, lifeboat, first=False):
        cost = lifeboat.first_backup() if first else lifeboat.backup()
        self.backup_peaks.append(cost.peak)
        return cost

    def first(self, lifeboat):
        say("first backup ...")
        ours, theirs = measure.pairs(self.rounds, lambda: self.backup(lifeboat, first=True), self.pipeline)
        walls = [cost.wall for cost in ours], [cost.wall for cost in theirs]
        cpus = [cost.cpu for cost in ours], [cost.cpu for cost in theirs]
        self.table.ratio("first backup, wall", *walls, 0.85, seconds)
        self.table.ratio("first backup, CPU without the server", *cpus, 1.0, seconds)
        self.first_size = lifeboat.stored()
        self.table.ratio("repository after the first", [self.first_size], [self.compressed_size()], 1.02, size)

    def unchanged(self, lifeboat):
        say("second backup, nothing changed ...")
        stored = []

        def again():
            before = lifeboat.stored()
            cost = self.backup(lifeboat)
            stored.append(lifeboat.stored() - before)
            return cost.wall

        ours, theirs = measure.pairs(self.rounds, again, lambda: self.plain_dump().wall)
        self.table.ratio("unchanged, wall", ours, theirs, 0.75, seconds)
        self.table.at_most("unchanged, stored", max(stored), 1e6, size)

    def changed(self, lifeboat, others):
        say("1,000 updates and 10,000 new rows ...")
        generate.change(self.source.psql("bench"), self.writer)
        before = lifeboat.stored()
        self.backup(lifeboat)
        added = lifeboat.stored() - before
        self.table.ratio("changed, stored / first", [added], [self.first_size], 0.08, size)
        others.backup("changed", self.table)
        if "restic" in others.sizes:
            self.table.ratio("changed, stored / restic's", [added], [others.added("restic")], 0.12, size)

    def fan_out(self):
        say("three targets ...")
        three, one = self.lifeboat("three", "bench", 3), self.lifeboat("single", "bench", 1)
        ours, theirs = measure.pairs(
            self.rounds, lambda: self.backup(three, first=True).cpu, lambda: self.backup(one, first=True).cpu
        )
        self.table.ratio("three targets / one, CPU", ours, theirs, 1.15, seconds)
        for lifeboat in (three, one):
            shutil.rmtree(lifeboat.home)

    def restores(self, lifeboat):
        say("restore ...")
        measure.run(f"{self.pg_dump} -Fc -Z0 -f '{self.home / 'local.dump'}'")
        with Cluster(self.home, "destination") as self.destination:
            ours, theirs = measure.pairs(
                self.rounds, lambda: self.restore(lifeboat).wall, lambda: self.pg_restore(self.destination).wall
            )
            self.table.ratio("restore, wall", ours, theirs, 0.95, seconds)
            self.table.at_most("peak of backup", max(self.backup_peaks), PEAK_MAX, mebibytes)
            self.table.at_most("peak of restore", max(self.restore_peaks), PEAK_MAX, mebibytes)
            self.compare_rows()

    def restore(self, lifeboat):
        self.destination.create("bench")
        cost = lifeboat.restore(self.destination.url("bench"))
        self.restore_peaks.append(cost.peak)
        return cost

    def compare_rows(self):
        """A restore that is fast because it is empty would be no surprise."""
        for table in generate.ROWS:
            sql = f"select count(*), sum(hashtextextended(t::text, 0)) from {table} t"
            if self.source.query("bench", sql) != self.destination.query("bench", sql):
                raise SystemExit(f"`{table}` did not come back as it was")

    def peaks(self):
        count = max(200, int(MANY_TABLES * min(1, self.options.scale)))
        cases = [
            ("tables", f"{count} tables", PEAK_MAX, lambda psql: generate.many_tables(psql, count)),
            # Three times the row's size on top.
            ("huge", f"a row of {HUGE_ROW_MIB} MiB", PEAK_MAX + 3 * HUGE_ROW_MIB * MIB,
             lambda psql: generate.huge_row(psql, HUGE_ROW_MIB)),
        ]
        for database, name, limit, fill in cases:
            say(f"{name} ...")
            self.source.create(database)
            fill(self.source.psql(database))
            lifeboat = self.lifeboat(database, database, 1)
            self.table.at_most(f"peak of backup, {name}", lifeboat.backup().peak, limit, mebibytes)
            # The other cluster was stopped: a fresh one is empty for certain.
            with Cluster(self.home, f"destination-{database}") as destination:
                destination.create(database)
                peak = lifeboat.restore(destination.url(database)).peak
            self.table.at_most(f"peak of restore, {name}", peak, limit, mebibytes)


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Measures Lifeboat against the standard tools.")
    parser.add_argument("--lifeboat", type=pathlib.Path, default=here.parent / "target/release/lifeboat")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full 3.2 million rows and 5 million keys")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs for each ratio")
    parser.add_argument("--reference-only", action="store_true", help="time the other tools alone")
    parser.add_argument("--only", choices=("postgres", "redis", "files", "objects"), help="rows of one kind of source")
    parser.add_argument("--folder", type=pathlib.Path, help="work below this folder instead of the temporary one")
    options = parser.parse_args()
    options.lifeboat = options.lifeboat.resolve()
    options.rdb_speed = options.lifeboat.parent / "examples/rdb_speed"
    options.s3_server = options.lifeboat.parent / "examples/s3_server"
    if not options.reference_only and not options.lifeboat.exists():
        raise SystemExit(f"there is no `{options.lifeboat}`: run `cargo build --release`, or pass `--reference-only`")
    if options.scale < 1:
        print(f"scale {options.scale}: this tries the bench and proves nothing")
    with tempfile.TemporaryDirectory(prefix="lifeboat-bench-", dir=options.folder) as home:
        # The server's user must be able to pass.
        os.chmod(home, 0o755)
        bench = Bench(options, pathlib.Path(home))
        bench.run()
        print()
        bench.table.print()
    sys.exit(1 if bench.table.missed else 0)


if __name__ == "__main__":
    main()
