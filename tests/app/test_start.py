"""What happens before the first request: imports, settings, gunicorn."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, **variables):
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_app_imports_neither_training_nor_what_it_does_not_need_yet():
    unwanted = {"tensorflow", "keras", "training", "boto3", "sentry_sdk"}
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
def test_a_wrong_setting_stops_the_start_with_a_plain_message(command):
    finished = run(sys.executable, *command, MAX_UPLOAD_MB="many")
    assert finished.returncode != 0
    assert "MAX_UPLOAD_MB: wrong value 'many'; accepted: a whole number" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_gunicorn_serves_on_the_port_of_the_environment(server, served):
    request = urllib.request.Request(f"{server}/model", headers={"Accept": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["version"] == served.manifest.version


def test_a_model_in_a_folder_is_served_by_several_workers(start_server, make_bundle):
    bundle = make_bundle(files={"MODEL_CARD.md": b"# Another card\n"})
    url = start_server(MODEL_URI=str(bundle.path), WEB_CONCURRENCY="2")
    for _ in range(4):
        with urllib.request.urlopen(f"{url}/model") as answer:
            assert bundle.manifest.version in answer.read().decode()
