"""Postgres servers of the bench's own: a unix socket only, in a folder of the bench, as an unprivileged user."""

import os
import pathlib
import pwd
import shutil
import subprocess

# Ordinary settings; durable, as a server in use is.
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "128MB",
    "fsync": "on",
    # 20,000 tables are dumped within one transaction.
    "max_locks_per_transaction": "1024",
    "log_min_messages": "fatal",
}


def binaries():
    """The folder of the newest installed Postgres."""
    found = [path.parent for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not found and shutil.which("postgres"):
        found = [pathlib.Path(shutil.which("postgres")).parent]
    if not found:
        raise SystemExit("the bench needs a Postgres server (Debian and Ubuntu: apt-get install postgresql)")
    return max(found, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)


def server_user():
    """Postgres refuses root: then its own account runs it. Keyword arguments for subprocess."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Cluster:
    """A running server; `with` stops it."""

    def __init__(self, folder, name):
        self.bin = binaries()
        self.sockets = folder / name
        self.data = self.sockets / "data"
        self.sockets.mkdir()
        user = server_user()
        if user:
            os.chown(self.sockets, user["user"], user["group"])
        self.sockets.chmod(0o755)
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        with open(self.data / "postgresql.conf", "a") as file:
            file.writelines(f"{key} = '{value}'\n" for key, value in SETTINGS.items())
            file.write(f"unix_socket_directories = '{self.sockets}'\n")

    def run(self, program, *args):
        subprocess.run(
            [self.bin / program, *args], check=True, cwd=self.sockets, stdout=subprocess.DEVNULL, **server_user()
        )

    def __enter__(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-l", self.sockets / "log", "start")
        return self

    def __exit__(self, *_):
        self.run("pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop")

    def psql(self, database):
        """A command to which `-c SQL` is added."""
        return [
            str(self.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self.sockets), "-U", "postgres",
            "-d", database,
        ]

    def query(self, database, sql):
        return subprocess.run([*self.psql(database), "-At", "-c", sql], check=True, capture_output=True, text=True).stdout

    def create(self, database):
        self.query("postgres", f"drop database if exists {database}")
        self.query("postgres", f"create database {database} template template0")

    def url(self, database):
        return f"postgres:///{database}?host={self.sockets}&user=postgres"

    def client(self, program):
        """The start of a shell command line of one of the server's own clients."""
        return f"'{self.bin / program}' -h '{self.sockets}' -U postgres"
