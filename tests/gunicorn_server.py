"""The app as it runs in production, for tests that need the real process."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from tests.ports import find_free_port

ROOT = Path(__file__).parents[1]


def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Return once `condition()` is true; fail the test if it is not true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def processes() -> dict[str, "subprocess.Popen[bytes]"]:
    """gunicorn's own process of each URL that `start_server` gave."""
    return {}


@pytest.fixture(scope="session")
def logs() -> dict[str, Path]:
    """The log of each URL that `start_server` gave."""
    return {}


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory,
    processes: dict[str, "subprocess.Popen[bytes]"],
    logs: dict[str, Path],
) -> Iterator[Callable[..., str]]:
    """Start gunicorn with some environment on a free port, and return its URL once it is ready."""
    with contextlib.ExitStack() as running:

        def start(group: Path | None = None, **variables: str) -> str:
            """`group` is the folder of a cgroup to start it in."""
            port = find_free_port()
            folder = tmp_path_factory.mktemp("server")
            ours = {name.upper() for name in Settings.model_fields}
            inherited = {name: value for name, value in os.environ.items() if name not in ours}
            environment = {
                "MODEL_CACHE": str(folder / "cache"),
                "PORT": str(port),
                "RATE_LIMIT": "unlimited",  # all tests come from one address
                **variables,
            }
            command = f"{Path(sys.executable).with_name('gunicorn')} wsgi:app"  # as the Procfile
            log = running.enter_context((folder / "log").open("w+"))
            server = subprocess.Popen(
                ["/bin/sh", "-c", f"echo $$ > {group}/cgroup.procs; exec {command}"]
                if group
                else command.split(),
                cwd=ROOT,
                env=inherited | environment,
                stdout=log,
                stderr=log,
            )
            running.callback(server.wait, 30)
            running.callback(server.terminate)
            url = f"http://127.0.0.1:{port}"
            processes[url] = server
            logs[url] = folder / "log"
            try:
                # Any worker may answer: all of them have to be ready.
                workers = int(variables.get("WEB_CONCURRENCY", 1))
                wait(lambda: _count_models_loaded(folder / "log") >= workers)
                wait(lambda: _is_ready(url))
            except AssertionError:
                pytest.fail((folder / "log").read_text())
            return url

        yield start


def _count_models_loaded(log: Path) -> int:
    return log.read_text().count(" in service after ")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz") as response:
            return bool(response.status == 200)
    except OSError:
        return False
