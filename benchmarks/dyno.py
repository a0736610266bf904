"""The Procfile as on a Heroku dyno of 512 MB: `make dyno`.

honcho runs it with the packages of the slug, in a cgroup with that much memory where the system
allows one (Linux, as root). The benchmark prints the slug's size, the times until the port is bound
and the app is ready, the memory at rest and under load, and whether the kernel killed a process.
"""

import gzip
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

import psutil

from benchmarks.server import draw_jpeg, pack_form
from benchmarks.tool import Report, benchmark

ROOT = Path(__file__).parents[1]
SERVING = ROOT / ".venv/serving"
DYNO_BYTES = 512 << 20
LOAD_SECONDS, VISITORS = 15, 16
_CGROUPS = Path("/sys/fs/cgroup")


class _Counter(io.RawIOBase):
    """A file that records only its size."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]
        self.size += len(data)
        return len(data)


def measure_slug() -> float:
    """Measure the compressed slug in MB: the files in git and the installed packages."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        sys.exit("The slug holds the files that git lists: run this in a clone.")
    ignored = (ROOT / ".slugignore").read_text().split()
    counter = _Counter()
    with (
        gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file() and not any(
                fnmatch(f"/{name}", f"{pattern}/*") for pattern in ignored
            ):
                tar.add(ROOT / name, name)
        packages = next(SERVING.glob("lib/python*/site-packages"))
        for path in packages.iterdir():
            if not path.name.startswith(("pip", "setuptools")) and path.name != "__pycache__":
                tar.add(path, f"site-packages/{path.name}")
    return counter.size / 1e6


@contextmanager
def limited_memory() -> Iterator[Path | None]:
    """Make a cgroup of 512 MB, version 1 or 2; give None where that is not possible."""
    two = (_CGROUPS / "cgroup.controllers").is_file()
    folder = (_CGROUPS if two else _CGROUPS / "memory") / f"melanoma-dyno-{os.getpid()}"
    limit = folder / ("memory.max" if two else "memory.limit_in_bytes")
    try:
        folder.mkdir()
        limit.write_text(str(DYNO_BYTES))
    except OSError as error:
        print(f"Memory is not limited: no cgroup of 512 MB can be made here ({error}).")
        with suppress(OSError):
            folder.rmdir()
        yield None
        return
    try:
        yield folder
    finally:
        # The kernel needs a moment to notice that the processes are gone.
        for _ in range(50):
            with suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


def count_kills(group: Path) -> int:
    """Count the processes that the kernel killed for lack of memory."""
    for name in ("memory.events", "memory.oom_control"):
        if (group / name).is_file():
            for line in (group / name).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def wait(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Wait until `condition` holds."""
    while not condition():
        if process.poll() is not None:
            sys.exit("The Procfile's process ended. Run `honcho start web` to see why.")
        time.sleep(0.01)


def answers(url: str) -> bool:
    """Return whether a GET of the URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def binds(port: int) -> bool:
    """Return whether the port accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure_pss(process: "subprocess.Popen[bytes]") -> float:
    """Measure the memory of gunicorn and its workers in MB, each shared page counted once."""
    total = 0
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if "gunicorn" in " ".join(child.cmdline()):
                total += child.memory_full_info().pss
    return total / 1e6


def visit(url: str, form: tuple[bytes, dict[str, str]], until: float, statuses: list[int]) -> None:
    """Send the form again and again, and record the statuses."""
    while time.monotonic() < until:
        try:
            request = urllib.request.Request(url, *form)
            with urllib.request.urlopen(request, timeout=40) as answer:
                answer.read()
                statuses.append(answer.status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
            time.sleep(0.2)
        except OSError:
            statuses.append(0)


def measure_app(report: Report) -> None:
    """Start the Procfile with the memory of a dyno and send it photos."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    honcho = Path(sys.executable).with_name("honcho")
    form = pack_form(draw_jpeg(4000, 3000))  # the size of a phone photo
    with limited_memory() as group:
        enter = f"echo $$ > {group}/cgroup.procs; " if group else ""
        started = time.monotonic()
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{enter}exec {honcho} start web"],
            cwd=ROOT,
            env=os.environ
            | {
                "PATH": f"{SERVING / 'bin'}:{os.environ['PATH']}",
                "PORT": str(port),
                "WEB_CONCURRENCY": "2",  # as Heroku sets it on such a dyno
                "RATE_LIMIT": "unlimited",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait(lambda: binds(port), process)
            bound = time.monotonic() - started
            wait(lambda: answers(f"{url}/readyz"), process)
            ready = time.monotonic() - started
            time.sleep(2)
            at_rest = measure_pss(process)
            print(f"{VISITORS} visitors send photos of 12 megapixels for {LOAD_SECONDS} s ...")
            statuses: list[int] = []
            until = time.monotonic() + LOAD_SECONDS
            visitors = [
                threading.Thread(target=visit, args=(f"{url}/predict", form, until, statuses))
                for _ in range(VISITORS)
            ]
            for visitor in visitors:
                visitor.start()
            peak = 0.0
            while any(visitor.is_alive() for visitor in visitors):
                peak = max(peak, measure_pss(process))
                time.sleep(0.2)
            kills = count_kills(group) if group else None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(40)
    report.begin("Procfile with 2 workers")
    report.add("start until port is bound", bound, "s", "of 60")
    report.add("start until /readyz answers 200", ready, "s")
    report.add("memory at rest", at_rest, "MB", "of 512")
    report.add("memory under load, maximum", peak, "MB", "of 512")
    if kills is not None:
        report.add("processes killed for memory", kills, "", "goal: 0")
    for status in sorted(set(statuses)):
        report.add(f"answers {status or 'that never came'}", statuses.count(status))


@benchmark("slug", "app", libraries=("honcho",))
def main(report: Report, parts: list[str]) -> None:
    """Measure and print."""
    if not (SERVING / "bin/gunicorn").is_file():
        sys.exit("The packages of the slug are not installed: run `make dyno`.")
    if "slug" in parts:
        print("Packing the slug ...", flush=True)
        report.begin("Slug")
        report.add("compressed, without Python", measure_slug(), "MB", "of 500")
    if "app" in parts:
        measure_app(report)


if __name__ == "__main__":
    main()
