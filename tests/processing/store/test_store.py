import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from processing.bundle import CARD, FILES, MANIFEST, MODEL, Bundle, BundleError
from processing.manifest import Manifest
from processing.store.base import StoreError
from processing.store.open import fetch_bundle, open_store
from tests.processing.conftest import Damage


def test_published_bundle_is_fetched(
    uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    bundle = drawn_bundle()

    version = open_store(uri).publish(bundle.path)
    fetched = fetch_bundle(uri, cache)

    assert version == bundle.manifest.version
    assert fetched.manifest == bundle.manifest
    assert fetched.model_path.read_bytes() == b"model"


def test_progress_adds_up_to_the_size_of_the_files(
    uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    bundle = drawn_bundle(model=bytes(1_000_000))
    stored: list[int] = []

    open_store(uri).publish(bundle.path, stored.append)

    files_bytes = sum(entry.size_bytes for entry in bundle.manifest.files.values())
    assert sum(stored) == files_bytes


def test_folder_store_is_read_in_place(
    folder_uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    version = open_store(folder_uri).publish(drawn_bundle().path)

    assert fetch_bundle(folder_uri, cache).path == Path(folder_uri, "bundles", version)
    assert not cache.exists()


def test_bundle_folder_is_read_in_place(drawn_bundle: Callable[..., Bundle], cache: Path) -> None:
    bundle = drawn_bundle()

    assert fetch_bundle(str(bundle.path), cache) == bundle
    assert not cache.exists()


def test_versions_are_listed_in_the_order_of_their_publishing(
    uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    store = open_store(uri)
    first = store.publish(drawn_bundle(model=b"1").path)
    time.sleep(1.1)  # S3 reports whole seconds
    second = store.publish(drawn_bundle(model=b"2").path)

    assert store.list_versions() == [first, second]
    assert store.read_pointer().version == second
    assert [entry.version for entry in store.read_pointer().previous] == [first]


def test_pointer_names_version_and_hash_of_its_manifest(
    folder_uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    version = open_store(folder_uri).publish(drawn_bundle().path)

    pointer = json.loads(Path(folder_uri, "current.json").read_text())
    assert pointer["version"] == version
    assert len(pointer["manifest_sha256"]) == 64
    assert pointer["previous"] == []


# A version never changes.


def test_version_in_force_is_published_again_without_effect(
    uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    bundle = drawn_bundle()
    store = open_store(uri)
    store.publish(bundle.path)
    stored: list[int] = []

    assert store.publish(bundle.path, stored.append) == bundle.manifest.version
    assert store.read_pointer().previous == ()
    assert stored == []


def test_model_exported_twice_is_the_same_version(
    uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    first, second = drawn_bundle(), drawn_bundle()
    manifest = json.loads((second.path / MANIFEST).read_text())
    manifest["created"] = "2030-01-01T00:00:00Z"
    (second.path / MANIFEST).write_text(json.dumps(manifest))
    store = open_store(uri)

    assert store.publish(first.path) == store.publish(second.path)
    assert store.read_pointer().previous == ()


def test_other_manifest_for_the_same_files_is_refused(
    uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    store = open_store(uri)
    store.publish(drawn_bundle().path)

    with pytest.raises(StoreError, match="what is published never changes"):
        store.publish(drawn_bundle(licence="another").path)
    assert fetch_bundle(uri, cache).manifest.licence == "CC0-1.0"


def test_damaged_version_is_not_published_again_over_itself(
    uri: str, damage: Damage, drawn_bundle: Callable[..., Bundle]
) -> None:
    bundle = drawn_bundle()
    store = open_store(uri)
    store.publish(bundle.path)
    damage(uri, f"bundles/{bundle.manifest.version}/{MODEL}", b"mOdel")

    with pytest.raises(StoreError, match=f"{MODEL} is missing or damaged.*publish it again"):
        store.publish(bundle.path)


def test_damaged_bundle_is_not_published(uri: str, drawn_bundle: Callable[..., Bundle]) -> None:
    bundle = drawn_bundle()
    (bundle.path / MODEL).write_bytes(b"mOdel")
    store = open_store(uri)

    with pytest.raises(BundleError, match="does not match the SHA-256"):
        store.publish(bundle.path)
    assert store.list_versions() == []


# Several publish at once.


def test_publisher_is_told_that_another_was_faster(
    uri: str, damage: Damage, drawn_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle, other = drawn_bundle(model=b"mine"), drawn_bundle(model=b"other")
    (tmp_path / "elsewhere").mkdir()
    open_store(str(tmp_path / "elsewhere")).publish(other.path)
    pointer = (tmp_path / "elsewhere" / "current.json").read_bytes()
    store = open_store(uri)

    with pytest.raises(StoreError, match="Someone else published .* meanwhile") as caught:
        store.publish(bundle.path, lambda _: damage(uri, "current.json", pointer))

    assert bundle.manifest.version in str(caught.value)
    assert store.read_pointer().version == other.manifest.version


def test_who_publishes_after_the_check_is_not_overwritten(
    uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    store = open_store(uri)
    first = store.publish(drawn_bundle(model=b"1").path)
    other = drawn_bundle(model=b"2")
    checked: list[str] = []

    def check(current: Manifest | None) -> None:
        assert current is not None
        checked.append(current.version)
        open_store(uri).publish(other.path)

    with pytest.raises(StoreError, match="Someone else published"):
        store.publish(drawn_bundle(model=b"3").path, check=check)
    assert checked == [first]
    assert store.read_pointer().version == other.manifest.version


def test_of_publishers_at_once_each_wins_or_is_told(
    uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    paths = [drawn_bundle(model=bytes([n])).path for n in range(4)]
    start = threading.Barrier(len(paths))
    won: list[str] = []
    messages: list[str] = []

    def publish(path: Path) -> None:
        store = open_store(uri)
        start.wait()
        try:
            won.append(store.publish(path))
        except StoreError as error:
            messages.append(str(error))

    run_at_once([partial(publish, path) for path in paths])

    in_force = [entry.version for entry in open_store(uri).read_pointer().history]
    assert sorted(in_force) == sorted(won)
    assert len(won) + len(messages) == 4
    assert all("Someone else published" in text for text in messages)
    assert fetch_bundle(uri, cache).manifest.version == in_force[-1]


def test_publishers_of_one_version_at_once_all_succeed(
    uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    bundle = drawn_bundle(model=bytes(100_000))
    start = threading.Barrier(3)
    won: list[str] = []

    def publish() -> None:
        store = open_store(uri)
        start.wait()
        won.append(store.publish(bundle.path))

    run_at_once([publish] * 3)

    assert won == [bundle.manifest.version] * 3
    assert open_store(uri).read_pointer().previous == ()


def run_at_once(functions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Rolling back.


def test_rollback_puts_the_version_before_in_force(
    uri: str, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    store = open_store(uri)
    versions = [store.publish(drawn_bundle(model=bytes([n])).path) for n in range(3)]

    assert store.rollback() == versions[1]
    assert store.rollback() == versions[0]
    assert fetch_bundle(uri, cache).manifest.version == versions[0]
    with pytest.raises(StoreError, match="no earlier version"):
        store.rollback()


def test_version_rolled_back_can_be_published_again(
    uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    store = open_store(uri)
    first, second = drawn_bundle(model=b"1"), drawn_bundle(model=b"2")
    store.publish(first.path)
    store.publish(second.path)
    store.rollback()

    assert store.publish(second.path) == second.manifest.version
    assert [entry.version for entry in store.read_pointer().previous] == [first.manifest.version]


def test_rollback_refuses_a_version_that_is_not_whole(
    uri: str, damage: Damage, drawn_bundle: Callable[..., Bundle]
) -> None:
    store = open_store(uri)
    first = store.publish(drawn_bundle(model=b"1").path)
    second = store.publish(drawn_bundle(model=b"2").path)
    damage(uri, f"bundles/{first}/{CARD}", b"?")

    with pytest.raises(StoreError, match=f"{CARD} is missing or damaged"):
        store.rollback()
    assert store.read_pointer().version == second


def test_versions_to_roll_back_to_are_bounded(
    folder_uri: str, drawn_bundle: Callable[..., Bundle]
) -> None:
    store = open_store(folder_uri)
    versions = [store.publish(drawn_bundle(model=bytes([n])).path) for n in range(23)]

    assert [entry.version for entry in store.read_pointer().previous] == versions[2:22]


# What may be wrong with the store.


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_byte_flipped_in_the_store_is_noticed(
    name: str, uri: str, damage: Damage, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    bundle = drawn_bundle()
    version = open_store(uri).publish(bundle.path)
    content = bytearray((bundle.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    damage(uri, f"bundles/{version}/{name}", bytes(content))

    with pytest.raises(StoreError, match=f"{name} is .*incomplete: roll back"):
        fetch_bundle(uri, cache)
    assert list(cache.glob("[!.]*")) == list(cache.glob(".partial-*")) == []


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_file_missing_in_the_store_is_reported(
    name: str, uri: str, damage: Damage, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    version = open_store(uri).publish(drawn_bundle().path)
    damage(uri, f"bundles/{version}/{name}", None)

    with pytest.raises(StoreError, match=f"{name} (is missing|cannot be read).*incomplete"):
        fetch_bundle(uri, cache)
    assert list(cache.glob("[!.]*")) == list(cache.glob(".partial-*")) == []


def test_store_without_a_publication_says_how_to_publish(uri: str, cache: Path) -> None:
    with pytest.raises(StoreError, match=f"nothing was published .* publish BUNDLE {uri}"):
        fetch_bundle(uri, cache)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "content: "),
        (b"<html>", "content: "),
        (b"{}", "version: Field required"),
        (b'{"version": "../../etc", "manifest_sha256": "0"}', "version: String should match"),
    ],
)
def test_pointer_that_is_not_valid_is_reported(
    content: bytes,
    fault: str,
    uri: str,
    damage: Damage,
    drawn_bundle: Callable[..., Bundle],
    cache: Path,
) -> None:
    damage(uri, "current.json", content)

    with pytest.raises(StoreError, match=f"current.json is not valid: {fault}.*Delete it"):
        fetch_bundle(uri, cache)
    with pytest.raises(StoreError, match=f"current.json is not valid: {fault}.*Delete it"):
        open_store(uri).publish(drawn_bundle().path)


def test_pointer_to_another_manifest_is_reported(
    uri: str, damage: Damage, drawn_bundle: Callable[..., Bundle], cache: Path
) -> None:
    store = open_store(uri)
    store.publish(drawn_bundle().path)
    pointer = store.read_pointer().model_copy(update={"manifest_sha256": "0" * 64})
    damage(uri, "current.json", pointer.model_dump_json().encode())

    with pytest.raises(StoreError, match="manifest.json is not the one that was published"):
        fetch_bundle(uri, cache)


@pytest.mark.parametrize("wrong", ["s3:", "s3:/x", "s3://", "s3:///x", "gs://bucket/x", "S3://b/x"])
def test_address_of_another_form_is_refused(wrong: str, cache: Path) -> None:
    with pytest.raises(StoreError, match="is not a store. Give s3://BUCKET/PREFIX or a folder"):
        fetch_bundle(wrong, cache)


@pytest.mark.parametrize("wrong", ["", "nowhere", __file__])
def test_folder_that_does_not_exist_is_reported(wrong: str, cache: Path) -> None:
    with pytest.raises(StoreError, match="is not a folder. Create it, or correct the path"):
        fetch_bundle(wrong, cache)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of this machine may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def give_up_rights() -> Iterator[Callable[[], None]]:
    """A function that gives up the rights of root, who may write to any folder."""
    if os.name == "nt":
        pytest.skip("folders have no such rights on Windows")
    user = os.geteuid()
    yield lambda: os.seteuid(user or 65534)
    os.seteuid(user)


def test_store_without_the_right_to_write_is_reported(
    drawn_bundle: Callable[..., Bundle], open_folder: Path, give_up_rights: Callable[[], None]
) -> None:
    shutil.copytree(drawn_bundle().path, open_folder / "bundle")
    (open_folder / "store").mkdir(mode=0o555)
    store = open_store(str(open_folder / "store"))
    give_up_rights()

    with pytest.raises(StoreError, match="Permission denied.*Check the permissions"):
        store.publish(open_folder / "bundle")
    assert list((open_folder / "store").iterdir()) == []


def test_store_without_the_right_to_read_is_reported(
    open_folder: Path, give_up_rights: Callable[[], None], cache: Path
) -> None:
    (open_folder / "store").mkdir(mode=0o000)
    give_up_rights()

    with pytest.raises(StoreError, match="Permission denied.*Check the permissions"):
        fetch_bundle(str(open_folder / "store"), cache)
