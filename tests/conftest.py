"""Real parts that several tests share: an S3 server, and bundles to put there."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from etils import epath
from etils.epath import gpath, register

from processing.bundle import CARD, GOLDEN, MODEL, Bundle, write_bundle
from processing.manifest import Calibration, Description, Estimate, Input, Label, OperatingPoint
from tests.ports import find_free_port

# scikit-learn's trees are many short loops: where other processes use the cores, their threads
# spend five times as long waiting for each other. Read when the library is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.gunicorn_server", "tests.faults", "tests.grouping"]

START_TIMEOUT_SECONDS = 30
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret123"


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS, and the tests' own access to it."""

    port: int
    endpoint: str
    client: Any  # a boto3 client, to make buckets and to damage what is in them


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server on free ports of this machine, alone for this test session."""
    folder = tmp_path_factory.mktemp("seaweedfs")
    port = find_free_port()
    endpoint = f"http://127.0.0.1:{port}"
    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1")
    client = session.client("s3", endpoint_url=endpoint)
    log = folder / "weed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _weed_command(folder, port), cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_up(client, process, log)
        yield S3Server(port, endpoint, client)
    finally:
        client.close()
        process.kill()  # its data goes with it, and an orderly end takes two seconds
        process.wait()


def _weed_command(folder: Path, s3_port: int) -> list[str]:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identity = {"name": "tests", "credentials": credentials, "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    weed = Path(sys.executable).with_name("weed.exe" if os.name == "nt" else "weed")
    ports = [f"-{part}.port={find_free_port()}" for part in ("master", "volume", "filer", "admin")]
    return [
        *(str(weed), "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(*ports, f"-s3.port={s3_port}", f"-s3.config={folder / 's3.json'}"),
        *("-master.telemetry=false", "-admin.ui=false", "-webdav=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        # Each bucket takes several volumes, empty ones; by itself it allows one for each GB free.
        "-volume.max=2000",
    ]


def _wait_until_up(client: Any, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.list_buckets()
            return
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()}")


@pytest.fixture
def s3(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The S3 server, with AWS's environment variables pointing to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in describe_access(seaweedfs, tmp_path).items():
        monkeypatch.setenv(name, value)
    return seaweedfs


def describe_access(server: S3Server, absent: Path) -> dict[str, str]:
    """AWS's environment variables for the S3 server; nothing exists at `absent`."""
    return {
        # No keys from this machine's own settings, nor from a cloud that it may run in.
        "AWS_SHARED_CREDENTIALS_FILE": str(absent / "no-credentials"),
        "AWS_CONFIG_FILE": str(absent / "no-config"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_S3": server.endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A new, empty bucket."""
    return make_bucket(s3)


def make_bucket(server: S3Server) -> str:
    """Make a new, empty bucket."""
    name = f"test-{uuid4().hex}"
    server.client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def ram(monkeypatch: pytest.MonkeyPatch) -> epath.Path:
    """A new folder in TensorFlow's in-memory file system, which is used like gs://."""
    monkeypatch.setattr(gpath, "_URI_SCHEMES", gpath._URI_SCHEMES | {"ram"})
    monkeypatch.setattr(gpath, "_URI_PREFIXES", (*gpath._URI_PREFIXES, "ram://"))
    monkeypatch.setitem(gpath._URI_MAP_ROOT, "ram://", "/ram/")
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "ram", gpath._PREFIX_TO_BACKEND["gs"])
    monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, "ram://", gpath.PosixGPath)
    return epath.Path(f"ram://{uuid4().hex}")


DESCRIPTION = Description(
    backbone="none",
    input=Input(size=8, crop_fraction=1.0),
    label=Label(name="malignant", covers="melanoma", not_covered="everything else"),
    operating_points=(
        OperatingPoint(
            name="default",
            threshold=0.5,
            sensitivity=Estimate(value=0.8, low=0.7, high=0.9),
            specificity=Estimate(value=0.7, low=0.6, high=0.8),
            measured_on="nothing",
        ),
    ),
    operating_point="default",
    calibration=Calibration(slope=1.0, intercept=0.0, fitted_on="nothing"),
    metrics=(),
    licence="CC0-1.0",
    attribution=(),
    training={},
)


@pytest.fixture
def drawn_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """A function that writes a bundle around any bytes; enough where no model is run."""

    def write(model: bytes = b"model", **changes: object) -> Bundle:
        description = DESCRIPTION.model_copy(update=changes)
        files = {MODEL: model, GOLDEN: b"golden", CARD: b"# Card\n"}
        return write_bundle(tmp_path / f"{uuid4().hex}.bundle", description, files)

    return write
