"""Runs a command and says what it took: wall, CPU of it and its children, its own peak memory."""

import dataclasses
import os
import pathlib
import statistics
import subprocess
import threading
import time


@dataclasses.dataclass
class Cost:
    wall: float
    """Seconds."""
    cpu: float
    """User and system seconds of the command and every child that it waited for."""
    peak: int
    """Bytes of resident memory of the command itself, without its children."""


def run(command, cwd=None, env=None, log=None):
    """Runs `command` (a list, or text for bash with pipefail); fails loudly if it does."""
    if isinstance(command, str):
        command = ["bash", "-c", f"set -euo pipefail; {command}"]
    # What an earlier command left to be written would slow this one down.
    os.sync()
    begin = time.perf_counter()
    with open(log or os.devnull, "ab") as out:
        child = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=out, stderr=out)
    peak, done = [0], threading.Event()
    watcher = threading.Thread(target=watch, args=(child.pid, peak, done))
    watcher.start()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    done.set()
    watcher.join()
    # Popen need not wait again for what is gone.
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        tail = pathlib.Path(log).read_text(errors="replace")[-2000:] if log else ""
        raise SystemExit(f"{' '.join(map(str, command))}\nexited {child.returncode}\n{tail}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak[0])


def watch(pid, peak, done):
    """The kernel's own high-water mark, read until the process is gone."""
    status = pathlib.Path(f"/proc/{pid}/status")
    while True:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            return
        for line in lines:
            if line.startswith("VmHWM:"):
                peak[0] = max(peak[0], int(line.split()[1]) * 1024)
        if done.wait(0.02):
            return


def pairs(rounds, ours, theirs):
    """Runs A B A B ...; both sides then saw the same noise."""
    mine, others = [], []
    for _ in range(rounds):
        mine.append(ours())
        others.append(theirs())
    return mine, others


def median(values):
    return statistics.median(values)


def size_of(folder):
    """Bytes of every file below `folder`."""
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())
