"""What happens before the first request: imports, settings, gunicorn."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from processing.bundle import Bundle
from tests.app.fixture_types import MakeBundle, StartServer

ROOT = Path(__file__).parents[2]


def run(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_app_imports_neither_training_nor_what_it_does_not_need_yet() -> None:
    unwanted = {"tensorflow", "keras", "training", "boto3", "sentry_sdk", "app.__init__"}
    script = f"import wsgi, sys; assert not {unwanted} & set(sys.modules)"
    finished = run(sys.executable, "-c", script)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "gunicorn", "wsgi:app"),
        ("-m", "flask", "--app", "wsgi", "routes"),
        ("-m", "app", "classify", "wsgi.py"),
    ],
    ids=["gunicorn", "flask", "classify"],
)
def test_a_wrong_setting_stops_the_start_with_a_plain_message(command: tuple[str, ...]) -> None:
    finished = run(sys.executable, *command, MAX_UPLOAD_MB="many")
    assert finished.returncode != 0
    assert "MAX_UPLOAD_MB: wrong value 'many'; accepted: a whole number" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_gunicorn_serves_on_the_port_of_the_environment(server: str, served: Bundle) -> None:
    request = urllib.request.Request(f"{server}/model", headers={"Accept": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["version"] == served.manifest.version


def test_a_model_in_a_folder_is_served_by_several_workers(
    start_server: StartServer, make_bundle: MakeBundle
) -> None:
    bundle = make_bundle(files={"MODEL_CARD.md": b"# Another card\n"})
    url = start_server(MODEL_URI=str(bundle.path), WEB_CONCURRENCY="2")
    for _ in range(4):
        with urllib.request.urlopen(f"{url}/model") as answer:
            assert bundle.manifest.version in answer.read().decode()


def listening_on(process: psutil.Process) -> set[str]:
    """The addresses, without the port, on which a process listens."""
    connections = process.net_connections("tcp")
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize(
    ("variables", "address"), [({}, "0.0.0.0"), ({"HOST": "127.0.0.1"}, "127.0.0.1")]
)
def test_with_a_port_it_listens_on_every_address_or_on_that_of_host_alone(
    start_server: Callable[..., str],
    processes: dict[str, "subprocess.Popen[bytes]"],
    served: Bundle,
    variables: dict[str, str],
    address: str,
) -> None:
    url = start_server(MODEL_URI=str(served.path), **variables)
    assert listening_on(psutil.Process(processes[url].pid)) == {address}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("bound", ["environment", "command line"])
def test_a_port_in_use_is_named_in_one_line_with_the_remedy(host: str, bound: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as other:
        port = other.getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        command = [sys.executable, "-m", "gunicorn", "wsgi:app"]
        if bound == "environment":
            finished = run(*command, HOST=host, PORT=str(port))
        else:
            finished = run(*command, "--bind", address, HOST="127.0.0.1", PORT="1")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == (
        f"Port {port} on {host} is in use by another program. Stop it, or choose another port: "
        f"HOST={host} PORT=8000 make run"
    )
    assert "Traceback" not in finished.stderr
    assert "Retrying" not in finished.stderr


def test_an_address_of_another_machine_is_named() -> None:
    finished = run(sys.executable, "-m", "gunicorn", "wsgi:app", HOST="192.0.2.1", PORT="9000")
    assert finished.returncode == 1
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("Cannot listen on 192.0.2.1, port 9000: ")
    assert last.endswith("Change HOST or PORT.")


def test_gunicorn_can_be_replaced_while_it_listens(
    start_server: Callable[..., str],
    processes: dict[str, "subprocess.Popen[bytes]"],
    served: Bundle,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    url = start_server(MODEL_URI=str(served.path))
    old = psutil.Process(processes[url].pid)
    old.send_signal(signal.SIGUSR2)
    replacements: list[psutil.Process] = []

    def find_replacement() -> bool:
        replacements[:] = [each for each in old.children() if "GUNICORN_PID" in each.environ()]
        return any(each.children() for each in replacements)

    wait_until(find_replacement)
    (new,) = replacements
    try:
        processes[url].terminate()
        assert processes[url].wait(30) == 0
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            assert answer.status == 200
    finally:
        new.terminate()
        new.wait(30)
