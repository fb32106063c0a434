"""The rows of the bench about folders and buckets: the same tree for Lifeboat, restic and rclone; the same store for both sides."""

import os
import random
import shutil
import subprocess

import measure

SEED = 20_261_121
FILES = 50_000
OBJECTS = 100_000
SPARSE_BYTES = 20 << 30
MANY_OBJECTS = 1_000_000
CONNECTIONS = 16
KEY, SECRET = "bench", "bench-secret"
# What a store keeps of its settings, so that both sides use the same.
BUCKET = "bench"


def tree(folder, count):
    """Files of 1 to 20 KB, half of which does not compress: 540 MB of 50,000."""
    draw = random.Random(SEED)
    for number in range(count):
        below = folder / f"{number % 200:03d}"
        below.mkdir(parents=True, exist_ok=True)
        size = draw.randrange(1000, 20_600)
        noise = draw.randbytes(size // 2)
        line = f"{number:010d} a line of text that compresses well\n".encode()
        (below / f"file{number:06d}").write_bytes(noise + line * ((size - len(noise)) // len(line)))


class Restic:
    def __init__(self, home):
        self.repository, self.home = home / "restic-tree", home
        self.env = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(home / "restic-tree-cache")}

    def first(self, source):
        shutil.rmtree(self.repository, ignore_errors=True)
        measure.run(["restic", "init", "-r", self.repository], env=self.env)
        return self.backup(source)

    def backup(self, source):
        return measure.run(["restic", "-q", "-r", self.repository, "backup", source], env=self.env)

    def restore(self, to):
        shutil.rmtree(to, ignore_errors=True)
        return measure.run(["restic", "-q", "-r", self.repository, "restore", "latest", "--target", to], env=self.env)


class Store:
    """An S3 server of its own with one bucket of generated objects, on a loopback port."""

    def __init__(self, program, count):
        self.program, self.count = program, count

    def __enter__(self):
        command = [self.program, f"generated:{self.count}", KEY, SECRET]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://{self.server.stdout.readline().strip()}"
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.wait()

    def job(self):
        return (f'type = "objects"\nbucket = "{BUCKET}"\nendpoint = "{self.endpoint}"\naccess_key_id = "{KEY}"\n'
                f'secret_access_key = {{ env = "BENCH_SECRET" }}\nconnections = {CONNECTIONS}\n')

    def copy(self, to):
        """rclone with as many connections."""
        shutil.rmtree(to, ignore_errors=True)
        env = {
            "RCLONE_CONFIG_BENCH_TYPE": "s3", "RCLONE_CONFIG_BENCH_PROVIDER": "Other", "RCLONE_CONFIG_BENCH_ENDPOINT": self.endpoint,
            "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": KEY, "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": SECRET,
            "RCLONE_CONFIG_BENCH_REGION": "us-east-1", "RCLONE_CONFIG_BENCH_LIST_VERSION": "2",
            "RCLONE_CONFIG_BENCH_LIST_URL_ENCODE": "false",
        }
        transfers = ["--transfers", str(CONNECTIONS), "--checkers", str(CONNECTIONS)]
        return measure.run(["rclone", "copy", f"bench:{BUCKET}", to, *transfers], env=env)


def rows(bench, installed, say, show):
    """`installed(name, source)` is an installation with one job of these lines for `[source]`."""
    if bench.options.only != "objects":
        files(bench, installed, say, show)
        sparse(bench, installed, say, show)
    objects(bench, installed, say, show)


def files(bench, installed, say, show):
    table, home, rounds = bench.table, bench.home, bench.options.rounds
    source = home / "tree"
    count = max(100, int(FILES * bench.options.scale))
    say(f"a tree of {count} files ...")
    tree(source, count)
    lifeboat = installed("tree-job", f'type = "files"\npath = "{source}"\n')
    copy, back = home / "tree-copy", home / "tree-back"

    def sides(name, ours, theirs, limit, tool):
        if shutil.which(tool):
            table.ratio(name, *measure.pairs(rounds, lambda: ours().wall, lambda: theirs().wall), limit, show.seconds)

    def copied():
        shutil.rmtree(copy, ignore_errors=True)
        return measure.run(["rclone", "copy", source, copy])

    def restored():
        shutil.rmtree(back, ignore_errors=True)
        return lifeboat.restore(str(back))

    restic = Restic(home)
    sides("files, first backup / restic", lifeboat.first_backup, lambda: restic.first(source), 0.6, "restic")
    sides("files, first backup / rclone copy", lifeboat.first_backup, copied, 0.4, "rclone")
    sides("files, unchanged / restic", lifeboat.backup, lambda: restic.backup(source), 0.5, "restic")
    sides("files, unchanged / rclone sync", lifeboat.backup, lambda: measure.run(["rclone", "sync", source, copy]), 1.0, "rclone")
    sides("files, restore / restic", restored, lambda: restic.restore(home / "restic-back"), 0.8, "restic")
    subprocess.run(["diff", "-r", source, back], check=True)
    for folder in (source, copy, back, home / "restic-back", home / "restic-tree", lifeboat.home):
        shutil.rmtree(folder, ignore_errors=True)


def sparse(bench, installed, say, show):
    source, back = bench.home / "sparse", bench.home / "sparse-back"
    size = max(1 << 30, int(SPARSE_BYTES * min(1, bench.options.scale)))
    say(f"a sparse file of {size >> 30} GiB ...")
    source.mkdir()
    with open(source / "disk.img", "wb") as image:
        for at in range(0, size, size // 64):
            image.seek(at)
            image.write(os.urandom(1 << 20))
        image.truncate(size)
    lifeboat = installed("sparse-job", f'type = "files"\npath = "{source}"\n')
    name = f"a sparse file of {size >> 30} GiB, peak of"
    bench.table.at_most(f"{name} backup", lifeboat.backup().peak, bench.peak_max, show.mebibytes)
    bench.table.at_most(f"{name} restore", lifeboat.restore(str(back)).peak, bench.peak_max, show.mebibytes)
    for folder in (source, back, lifeboat.home):
        shutil.rmtree(folder)


def objects(bench, installed, say, show):
    server = bench.options.s3_server
    if not server.exists():
        say(f"  there is no `{server}`: `cargo build --release --example s3_server` builds it")
        return
    count, many = (max(1000, int(number * bench.options.scale)) for number in (OBJECTS, MANY_OBJECTS))
    os.environ["BENCH_SECRET"] = SECRET
    # Settings for other stores: rclone takes them to be for this one.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    with Store(server, count) as store:
        say(f"{count} objects ...")
        lifeboat = installed("objects-job", store.job())
        if shutil.which("rclone"):
            ours, theirs = measure.pairs(
                bench.options.rounds,
                lambda: lifeboat.first_backup().wall,
                lambda: store.copy(bench.home / "objects-copy").wall,
            )
            bench.table.ratio("objects of 4 KB, first backup / rclone copy", ours, theirs, 0.5, show.seconds)
            shutil.rmtree(bench.home / "objects-copy")
        shutil.rmtree(lifeboat.home)
    with Store(server, many) as store:
        say(f"{many} objects ...")
        lifeboat = installed("many-objects-job", store.job())
        lifeboat.first_backup()
        stored = lifeboat.stored()
        again = lifeboat.backup()
        bench.table.at_most(f"{many} objects unchanged, peak", again.peak, bench.peak_max, show.mebibytes)
        bench.table.at_most(f"{many} objects unchanged, stored", lifeboat.stored() - stored, 1e6, show.size)
        shutil.rmtree(lifeboat.home)
