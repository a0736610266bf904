"""What Dockerfile and compose.yaml say, as far as it can be run without Docker."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from config.settings import Settings
from tests.gunicorn_server import wait
from tests.ports import find_free_port

ROOT = Path(__file__).parents[1]
SECRETS = {"S3_APP_SECRET": "secret-of-the-app", "S3_PUBLISHER_SECRET": "secret-of-the-publisher"}


def read_steps(instruction: str) -> list[str]:
    """The arguments of each such line of the Dockerfile's last stage."""
    text = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)


def fill(text: str) -> str:
    """The text with the variables of .env, as Compose puts them in."""
    return re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", lambda m: SECRETS.get(m[1], m[3] or ""), text)


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load(fill((ROOT / "compose.yaml").read_text()))


def test_what_is_copied_is_all_that_the_app_needs(tmp_path: Path) -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    for step in read_steps("COPY"):
        if step.startswith("--from"):
            continue
        *sources, target = step.split()
        for source in sources:
            assert source in kept
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("cache", "__pycache__")
                shutil.copytree(ROOT / source, tmp_path / target, ignore=ignored)
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    script = (
        "import app.command, wsgi; assert wsgi.app.test_client().get('/healthz').data == b'ok\\n'"
    )
    environment = {"MODEL_CACHE": str(tmp_path / "cache"), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)


def test_the_images_python_is_that_of_the_slug() -> None:
    versions = set(re.findall(r"^FROM python:(\S+)-slim", (ROOT / "Dockerfile").read_text(), re.M))
    assert versions == {(ROOT / "runtime.txt").read_text().strip().removeprefix("python-")}


def test_the_check_of_health_tells_a_server_that_answers_from_one_that_does_not(
    start_server: Callable[..., str],
) -> None:
    (step,) = read_steps("HEALTHCHECK")
    _, *command = json.loads(step.partition("CMD ")[2])
    port = start_server().rpartition(":")[2]
    for number, status in ((port, 0), (str(find_free_port()), 1)):
        finished = subprocess.run(
            [sys.executable, *command], env={"PORT": number}, stderr=subprocess.DEVNULL, check=False
        )
        assert finished.returncode == status


def test_the_settings_exist(compose: Any) -> None:
    named = {*compose["services"]["app"]["environment"]}
    named |= set(re.findall(r"(\w+)=", read_steps("ENV")[0])) - {"PATH", "PYTHONUNBUFFERED"}
    known = {name.upper() for name in Settings.model_fields}
    assert {name for name in named if not name.startswith("AWS_")} <= known


def test_every_service_runs_without_rights(compose: Any) -> None:
    assert set(compose["services"]) == {"app", "redis", "s3"}
    for name, service in compose["services"].items():
        assert service["read_only"] == (name != "s3")
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert read_steps("USER") == ["10001:10001"]


@pytest.fixture
def store(compose: Any, tmp_path: Path) -> Iterator[Callable[[str, str], Any]]:
    """The S3 server as compose.yaml starts it, on other ports; makes its clients."""
    (tmp_path / "data").mkdir()
    (tmp_path / "s3.json").write_text(compose["configs"]["s3"]["content"])
    port = find_free_port()
    places = {
        "-dir": tmp_path / "data",
        "-s3.config": tmp_path / "s3.json",
        "-s3.ip.bind": "127.0.0.1",
        "-s3.port": port,
        "-s3.port.grpc": find_free_port(),
    }
    for part in ("master", "volume", "filer"):
        places |= {f"-{part}.port": find_free_port(), f"-{part}.port.grpc": find_free_port()}
    command = [*compose["services"]["s3"]["command"]]
    command = [word for word in command if word.partition("=")[0] not in places]
    weed = Path(sys.executable).with_name("weed")

    def connect(key: str, secret: str) -> Any:
        session = boto3.Session(key, secret, region_name="us-east-1")
        return session.client("s3", endpoint_url=f"http://127.0.0.1:{port}")

    def answers() -> bool:
        client = connect("publisher", SECRETS["S3_PUBLISHER_SECRET"])
        try:
            client.put_object(Bucket="models", Key="melanoma/ready", Body=b"yes")
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return True

    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [weed, *command, *(f"{name}={value}" for name, value in places.items())],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        wait(answers, 60)
        yield connect
    finally:
        process.kill()
        process.wait()


def test_the_app_may_read_models_and_nothing_else(store: Callable[[str, str], Any]) -> None:
    client = store("app", SECRETS["S3_APP_SECRET"])
    with client.get_object(Bucket="models", Key="melanoma/ready")["Body"] as body:
        assert body.read() == b"yes"
    for call in (
        lambda: client.put_object(Bucket="models", Key="melanoma/ready", Body=b"no"),
        lambda: client.delete_object(Bucket="models", Key="melanoma/ready"),
        lambda: client.create_bucket(Bucket="others"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    client.close()
    stranger = store("app", "another secret")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.get_object(Bucket="models", Key="melanoma/ready")
    stranger.close()
