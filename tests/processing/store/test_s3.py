import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from processing.bundle import FILES, MANIFEST, MODEL, Bundle
from processing.store import s3 as s3_store
from processing.store.base import StoreError
from processing.store.open import fetch_bundle, open_store
from tests.conftest import S3Server
from tests.faulty_proxy import Fault, FaultyProxy

REPOSITORY = Path(__file__).parents[3]
MODEL_BYTES = bytes(range(256)) * 1000  # long enough to be spoilt midway


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before the S3 server; the environment points to it."""
    with FaultyProxy(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry S3 as often as usual, but with shorter waits."""
    monkeypatch.setitem(s3_store.CONFIG, "read_timeout", 0.5)


def files_in(cache: Path) -> list[str]:
    """All files in the cache, except the lock."""
    paths = [path for path in cache.rglob("*") if path.name != ".lock"]
    return sorted(path.relative_to(cache).as_posix() for path in paths)


def test_bundle_that_travels_in_several_parts_arrives(
    s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    bundle = drawn_bundle(model=os.urandom(20_000_000))

    open_store(s3_uri).publish(bundle.path)

    assert fetch_bundle(s3_uri, cache).manifest == bundle.manifest


def test_store_may_be_a_whole_bucket(
    bucket: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    version = open_store(f"s3://{bucket}").publish(drawn_bundle().path)

    assert fetch_bundle(f"s3://{bucket}/", cache).manifest.version == version
    assert open_store(f"s3://{bucket}").list_versions() == [version]


def test_version_that_is_there_is_not_uploaded_again(
    proxy: FaultyProxy, s3_uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    bundle = drawn_bundle()
    store = open_store(s3_uri)
    store.publish(bundle.path)
    proxy.requests.clear()

    store.publish(bundle.path)

    assert proxy.count("PUT", "") == 0


def test_publisher_whose_answer_got_lost_is_not_told_of_another(
    proxy: FaultyProxy, s3_uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    proxy.spoil("current.json", "lose", method="PUT")

    version = open_store(s3_uri).publish(drawn_bundle().path)

    assert proxy.count("PUT", "current.json") == 2
    assert open_store(s3_uri).read_pointer().version == version


# The cache.


def fetch_when_all_are_ready(barrier: Barrier, uri: str, cache: Path) -> None:
    barrier.wait(timeout=60)
    fetch_bundle(uri, cache)


@pytest.mark.fault("eight processes start at once", "one downloads, all serve")
def test_processes_that_start_at_once_download_once(
    proxy: FaultyProxy, s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    version = open_store(s3_uri).publish(drawn_bundle(model=MODEL_BYTES).path)
    proxy.requests.clear()
    spawn = multiprocessing.get_context("spawn")
    arguments = (spawn.Barrier(8), s3_uri, cache)

    processes = [spawn.Process(target=fetch_when_all_are_ready, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 8
    assert proxy.count("GET", "current.json") == 8
    assert [proxy.count("GET", f"/{name}") for name in (MANIFEST, *FILES)] == [1, 1, 1, 1]
    assert files_in(cache) == sorted([version, *(f"{version}/{n}" for n in (MANIFEST, *FILES))])


def test_cached_version_is_not_downloaded_again(
    proxy: FaultyProxy, s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    open_store(s3_uri).publish(drawn_bundle().path)
    first = fetch_bundle(s3_uri, cache)
    proxy.requests.clear()

    assert fetch_bundle(s3_uri, cache) == first
    assert [path.rsplit("/", 1)[1] for _, path in proxy.requests] == ["current.json"]


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_cached_version_that_was_damaged_is_downloaded_again(
    name: str, s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    bundle = drawn_bundle()
    open_store(s3_uri).publish(bundle.path)
    (fetch_bundle(s3_uri, cache).path / name).write_bytes(b"{}")

    fetched = fetch_bundle(s3_uri, cache)

    assert (fetched.path / name).read_bytes() == (bundle.path / name).read_bytes()


def test_cached_version_that_lost_a_file_is_downloaded_again(
    s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    open_store(s3_uri).publish(drawn_bundle().path)
    fetch_bundle(s3_uri, cache).model_path.unlink()

    assert fetch_bundle(s3_uri, cache).model_path.read_bytes() == b"model"


@pytest.mark.fault("kill -9 during the pull", "the next pull cleans up, and is complete")
def test_what_a_killed_process_leaves_is_gone_after_the_next_download(
    proxy: FaultyProxy,
    s3: S3Server,
    s3_uri: str,
    drawn_bundle: Callable[..., Bundle],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = open_store(s3_uri).publish(drawn_bundle(model=MODEL_BYTES).path)
    proxy.spoil(MODEL, "stall", after=100_000)
    code = "import sys; from pathlib import Path; from processing.store.open import fetch_bundle;"
    code += "fetch_bundle(sys.argv[1], Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", code, s3_uri, str(cache)], cwd=REPOSITORY)
    assert proxy.stalled.wait(timeout=60)
    process.kill()
    process.wait()
    assert files_in(cache)[0] == f".partial-{version}"

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert fetch_bundle(s3_uri, cache).manifest.version == version
    assert files_in(cache)[0] == version


@pytest.mark.fault("the disk is full during the pull", "reported, nothing left in the cache")
def test_disk_that_is_full_is_reported_and_left_clean(
    s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    resource = pytest.importorskip("resource", reason="Windows cannot limit the size of files")
    open_store(s3_uri).publish(drawn_bundle(model=MODEL_BYTES).path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    # The limit fails a write midway, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(MODEL_BYTES) // 2, hard))
    try:
        with pytest.raises(StoreError, match="free space"):
            fetch_bundle(s3_uri, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_in(cache) == []


# Faults of the network.


@pytest.mark.fault("the body is truncated or stalls, once", "retried, and complete")
@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_download_survives_one_fault(
    fault: Fault,
    proxy: FaultyProxy,
    s3_uri: str,
    drawn_bundle: Callable[..., Bundle],
    cache: Path,
    impatient: None,
) -> None:
    version = open_store(s3_uri).publish(drawn_bundle(model=MODEL_BYTES).path)
    proxy.requests.clear()
    proxy.spoil(MODEL, fault, after=100_000)

    assert fetch_bundle(s3_uri, cache).manifest.version == version
    assert proxy.count("GET", MODEL) >= 2  # more, if this machine is slow to answer


@pytest.mark.fault(
    "the body is truncated or stalls every time", "reported, nothing left in the cache"
)
@pytest.mark.parametrize("fault", ["cut", "stall"])
@pytest.mark.parametrize(("name", "after"), [(MODEL, 100_000), ("current.json", 50)])
def test_body_that_always_breaks_off_is_reported(
    name: str,
    after: int,
    fault: Fault,
    proxy: FaultyProxy,
    s3_uri: str,
    drawn_bundle: Callable[..., Bundle],
    cache: Path,
    impatient: None,
) -> None:
    open_store(s3_uri).publish(drawn_bundle(model=MODEL_BYTES).path)
    proxy.spoil(name, fault, after=after, times=100)

    with pytest.raises(StoreError, match=f"{name} failed: .* the network, then try again"):
        fetch_bundle(s3_uri, cache)
    assert files_in(cache) == []


@pytest.mark.fault(
    "a byte is flipped, or the announced length is too short", "refused, nothing left"
)
@pytest.mark.parametrize("fault", ["flip", "shorten"])
def test_body_that_is_not_what_was_stored_is_noticed(
    fault: Fault, proxy: FaultyProxy, s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    open_store(s3_uri).publish(drawn_bundle(model=MODEL_BYTES).path)
    proxy.spoil(MODEL, fault, after=100_000, times=100)

    with pytest.raises(StoreError, match=f"{MODEL} failed: .*checksum.* try again"):
        fetch_bundle(s3_uri, cache)
    assert files_in(cache) == []


@pytest.mark.fault("the body is slow", "received, and complete")
def test_slow_body_arrives(
    proxy: FaultyProxy,
    s3_uri: str,
    drawn_bundle: Callable[..., Bundle],
    cache: Path,
    impatient: None,
) -> None:
    version = open_store(s3_uri).publish(drawn_bundle(model=MODEL_BYTES).path)
    proxy.spoil(MODEL, "slow")
    proxy.requests.clear()
    started = time.monotonic()

    assert fetch_bundle(s3_uri, cache).manifest.version == version
    assert time.monotonic() - started > 1  # longer than it waits for any one byte
    assert proxy.count("GET", MODEL) == 1


@pytest.mark.fault(
    "the pointer changes during the pull", "the first pull is finished, then the other"
)
def test_pointer_that_changes_during_the_download_harms_neither(
    proxy: FaultyProxy, s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    store = open_store(s3_uri)
    first = store.publish(drawn_bundle(model=MODEL_BYTES).path)
    proxy.spoil(MODEL, "delay", after=100_000)
    fetched = []
    puller = threading.Thread(target=lambda: fetched.append(fetch_bundle(s3_uri, cache)))
    puller.start()
    assert proxy.stalled.wait(timeout=60)

    second = store.publish(drawn_bundle(model=MODEL_BYTES[::-1]).path)
    proxy.go_on.set()
    puller.join()

    assert fetched[0].manifest.version == first
    assert fetch_bundle(s3_uri, cache).manifest.version == second


@pytest.mark.fault(
    "the endpoint accepts the connection and sends nothing",
    "a timeout, and reported",
)
def test_server_that_accepts_and_never_answers_is_reported(
    s3_uri: str, cache: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")

        with pytest.raises(StoreError, match="Read timeout .* the network, then try again"):
            fetch_bundle(s3_uri, cache)


@pytest.mark.fault("the endpoint is dead", "the message says to check the endpoint")
def test_server_that_is_down_is_reported(
    s3_uri: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")

    with pytest.raises(StoreError, match="Could not connect .*Check AWS_ENDPOINT_URL_S3"):
        fetch_bundle(s3_uri, cache)


def test_endpoint_that_is_no_url_is_reported(
    s3_uri: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "storage")

    with pytest.raises(StoreError, match="Invalid endpoint: storage. Check the environment"):
        fetch_bundle(s3_uri, cache)


# Buckets and keys.


@pytest.mark.parametrize("act", ["read_pointer", "list_versions", "rollback"])
def test_bucket_that_does_not_exist_is_reported(act: str, s3: S3Server) -> None:
    with pytest.raises(StoreError, match="in a bucket that does not exist. Create it"):
        getattr(open_store("s3://no-such-bucket/melanoma"), act)()


def test_bucket_to_publish_in_must_exist(s3: S3Server, drawn_bundle: Callable[..., Bundle]) -> None:
    with pytest.raises(StoreError, match="in a bucket that does not exist. Create it"):
        open_store("s3://no-such-bucket/melanoma").publish(drawn_bundle().path)


def test_bucket_name_that_cannot_be_is_refused(s3: S3Server, cache: Path) -> None:
    with pytest.raises(StoreError, match="Invalid bucket name"):
        fetch_bundle("s3://two words/x", cache)


@pytest.mark.fault("wrong keys", "the message says to check the keys")
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_reported(
    name: str,
    s3_uri: str,
    drawn_bundle: Callable[..., Bundle],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, "wrong")

    with pytest.raises(StoreError, match="refuses the keys. Check AWS_ACCESS_KEY_ID"):
        fetch_bundle(s3_uri, cache)
    with pytest.raises(StoreError, match="refuses the keys. Check AWS_ACCESS_KEY_ID"):
        open_store(s3_uri).publish(drawn_bundle().path)


def test_no_keys_are_reported(s3_uri: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(StoreError, match="needs keys. Set AWS_ACCESS_KEY_ID"):
        fetch_bundle(s3_uri, cache)


def test_half_of_the_keys_is_reported(
    s3_uri: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(StoreError, match="missing: AWS_SECRET_ACCESS_KEY. Check the environment"):
        fetch_bundle(s3_uri, cache)


@pytest.mark.fault("keys without the right to read", "the message names the right")
def test_keys_without_the_right_are_reported(
    s3: S3Server, bucket: str, s3_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    open_store(s3_uri).publish(drawn_bundle().path)
    everything = f"arn:aws:s3:::{bucket}/*"
    denial = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": everything}
    policy = {"Version": "2012-10-17", "Statement": [denial]}
    s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    with pytest.raises(StoreError, match="is closed to these keys. Grant them s3:GetObject"):
        fetch_bundle(s3_uri, cache)
