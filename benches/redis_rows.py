"""The rows of the bench about Redis: a server of its own with keys of every usual kind, dumped by Lifeboat and by `redis-cli`."""

import pathlib
import random
import shutil
import subprocess
import time

import measure

SEED = 20_260_821
KEYS = 5_000_000
LIST_ELEMENTS = 10_000_000
STRING_BYTES = 512 << 20
CHANGED = 0.01
START_LIMIT = 30
# Elements that one call of a script pushes.
AT_ONCE = 4_000


class Redis:
    """A private server on a socket, that saves nothing by itself and sends its data at once."""

    def __init__(self, home, name, *settings):
        self.folder = pathlib.Path(home) / name
        self.socket = self.folder / "s"
        self.settings = settings

    def __enter__(self):
        self.folder.mkdir()
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder, "--save", ""]
        command += ["--repl-diskless-sync-delay", "0", "--enable-debug-command", "local", *self.settings]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        begun = time.monotonic()
        while subprocess.run(self.client("PING"), capture_output=True).returncode != 0:
            if self.server.poll() is not None or time.monotonic() - begun > START_LIMIT:
                raise SystemExit("redis-server does not start")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.folder)

    def client(self, *args):
        return ["redis-cli", "-e", "-s", str(self.socket), *args]

    def ask(self, *args):
        return subprocess.run(self.client(*args), check=True, capture_output=True, text=True).stdout.strip()

    def feed(self, commands):
        """Many commands as the protocol writes them, without waiting for each answer."""
        pipe = subprocess.Popen(self.client("--pipe"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        batch = []
        for command in commands:
            batch.append(resp(command))
            if len(batch) == 10_000:
                pipe.stdin.write("".join(batch).encode())
                batch.clear()
        pipe.stdin.write("".join(batch).encode())
        said = pipe.communicate()[0].decode()
        if "errors: 0" not in said:
            raise SystemExit(f"redis-cli --pipe: {said}")

    @property
    def url(self):
        return f"unix://{self.socket}"


def resp(command):
    return f"*{len(command)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in command)


def command(n, draw):
    """The key of number `n`, filled: sessions, users, boards, queues, followers in the shares that applications have."""
    token = f"{draw.getrandbits(320):080x}"
    kind = n % 20
    if kind < 12:
        return ("SET", f"session:{n}", token)
    if kind < 15:
        return ("HSET", f"user:{n}", "name", token[:12], "email", token[5:26], "age", str(n % 90), "city", token[30:38],
                "created", str(1_700_000_000 + n))
    if kind < 17:
        return ("ZADD", f"board:{n}", str(n % 977), token[:10], "1.5", token[12:22], str(n % 7), token[30:40])
    if kind < 19:
        return ("RPUSH", f"queue:{n}", token[:24], token[24:40], str(n))
    return ("SADD", f"followers:{n}", str(n % 4096), str(n % 977 + 5000), str(n % 31 + 9000))


def commands(count):
    draw = random.Random(SEED)
    for n in range(count):
        yield command(n, draw)


def changes(count):
    """Another value for one key in a hundred, wherever it lies."""
    draw = random.Random(SEED + 1)
    for n in draw.sample(range(count), int(count * CHANGED)):
        kind = n % 20
        token = f"{draw.getrandbits(160):040x}"
        if kind < 12:
            yield ("SET", f"session:{n}", token * 2)
        elif kind < 15:
            yield ("HSET", f"user:{n}", "city", token[:8])
        elif kind < 17:
            yield ("ZADD", f"board:{n}", "3", token[:10])
        elif kind < 19:
            yield ("RPUSH", f"queue:{n}", token[:24])
        else:
            yield ("SADD", f"followers:{n}", str(draw.randrange(1 << 30)))


def rows(bench, new_lifeboat, say, show):
    """Adds the rows to `bench.table`; `new_lifeboat(name, url)` is an installation with one job, `show` the formats."""
    options, table, home = bench.options, bench.table, bench.home
    count = max(1000, int(KEYS * options.scale))
    say(f"{count} keys of Redis ...")
    with Redis(home, "redis") as server:
        server.feed(commands(count))
        if int(server.ask("DBSIZE")) != count:
            raise SystemExit("not every key arrived")
        used = [line for line in server.ask("INFO", "memory").splitlines() if line.startswith("used_memory:")]
        print(f"Redis {server.ask('INFO', 'server').split('redis_version:')[1].split()[0]}: {count} keys, "
              f"{int(used[0].split(':')[1]) / 1e6:.0f} MB in memory")
        lifeboat, rdb = new_lifeboat("redis-job", server.url), home / "reference.rdb"
        peaks = []

        def first():
            cost = lifeboat.first_backup()
            peaks.append(cost.peak)
            return cost.wall

        def reference():
            rdb.unlink(missing_ok=True)
            return measure.run(server.client("--rdb", str(rdb))).wall

        ours, theirs = measure.pairs(options.rounds, first, reference)
        table.ratio("Redis, first backup / redis-cli --rdb", ours, theirs, 1.25, show.seconds)
        stored = lifeboat.stored()
        server.feed(changes(count))
        peaks.append(lifeboat.backup().peak)
        added = lifeboat.stored() - stored
        table.add("Redis, 1 % of keys changed, stored / first", show.size(added), show.size(stored), f"{added / stored:.3f}", "-", None)
        table.at_most("Redis, peak of backup", max(peaks), bench.peak_max, show.mebibytes)
        if options.rdb_speed.exists():
            speed = int(subprocess.run([options.rdb_speed, rdb], check=True, capture_output=True, text=True).stdout)
            table.add("Redis, fingerprint alone", f"{speed} MB/s", "-", "-", ">= 400 MB/s", speed >= 400)
        else:
            say(f"  there is no `{options.rdb_speed}`: `cargo build --release --example rdb_speed` builds it")
        rdb.unlink()
        shutil.rmtree(lifeboat.home)
    large_values(bench, new_lifeboat, say, show)


def large_values(bench, new_lifeboat, say, show):
    elements = max(10_000, int(LIST_ELEMENTS * min(1, bench.options.scale)))
    string = max(1 << 20, int(STRING_BYTES * min(1, bench.options.scale)))
    say(f"a string of {string} bytes and a list of {elements} elements ...")
    # Uncompressed, so that all of it passes through.
    with Redis(bench.home, "redis-large", "--rdbcompression", "no") as server:
        server.ask("DEBUG", "POPULATE", "1", "string", str(string))
        push = "for from = 1, ARGV[1], ARGV[2] do local all = {} for at = from, math.min(from + ARGV[2] - 1, ARGV[1]) do " \
               "all[#all + 1] = 'element:' .. at end redis.call('RPUSH', KEYS[1], unpack(all)) end"
        server.ask("EVAL", push, "1", "list", str(elements), str(AT_ONCE))
        if int(server.ask("LLEN", "list")) != elements or int(server.ask("STRLEN", "string:0")) != string:
            raise SystemExit("the large values are not what the bench promises")
        lifeboat = new_lifeboat("redis-large-job", server.url)
        name = f"Redis, peak of backup, a string of {string >> 20} MiB and a list of {elements}"
        bench.table.at_most(name, lifeboat.backup().peak, bench.peak_max, show.mebibytes)
        shutil.rmtree(lifeboat.home)
