"""A store of bundles, in an S3 bucket or a folder.

<root>/bundles/<version>/...   never changed once its manifest is there
<root>/current.json            the pointer: the current version and those before it

The files are stored first, then the manifest. Then the pointer moves, unless someone else has moved
it meanwhile. So whoever follows the pointer finds a complete bundle at any time.
"""

import hashlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from processing.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Bundle,
    BundleError,
    parse_manifest,
    read_bundle,
    verify_file,
)
from processing.files import read_start
from processing.manifest import Manifest, Sha256, Text

POINTER = "current.json"
ROLLBACK_DEPTH = 20
LOCK_TIMEOUT_SECONDS = 600
INCOMPLETE = "This version is incomplete: roll back, or delete its folder and publish it again."

Progress = Callable[[int], object]


class StoreError(Exception):
    """A store that cannot be read or written; the text gives the cause and the remedy."""


class Published(BaseModel, frozen=True):
    """A version in a store, with the hash of its manifest, which has the hashes of the files."""

    version: Sha256
    manifest_sha256: Sha256
    note: Text = ""  # the publisher's remark


class Pointer(Published, frozen=True):
    """`current.json`: the current version, and those before it, the newest last."""

    previous: tuple[Published, ...] = ()

    @property
    def history(self) -> tuple[Published, ...]:
        """The earlier versions, and last the current one."""
        return (*self.previous, Published(**self.model_dump(exclude={"previous"})))


class Store(ABC):
    """Bundles under one root: the algorithm, without the transfer of bytes."""

    def __init__(self, uri: str):
        self.uri = uri

    @abstractmethod
    def list_versions(self) -> list[str]:
        """List the versions that have a manifest, in the order in which they were stored."""

    @abstractmethod
    def open_version(self, published: Published, cache: Path) -> Bundle:
        """Verify a version, downloaded to `cache` unless it is already on this machine's disk.

        Raises:
            StoreError: the version is incomplete, or the store cannot be read.
            BundleError: its manifest has another format.
        """

    @abstractmethod
    def _read(self, key: str) -> tuple[bytes, str] | None:
        """Return the content and the tag of an object, or None if it does not exist.

        Raises:
            StoreError: it has more than `MAX_MANIFEST_BYTES`, or cannot be read.
        """

    @abstractmethod
    def _write(self, key: str, content: bytes, tag: str | None) -> bool:
        """Write an object if it still has `tag` (None: does not exist yet), else return False."""

    @abstractmethod
    def _add(self, bundle: Bundle, progress: Progress | None) -> None:
        """Store the files, then the manifest."""

    def read_pointer(self) -> Pointer:
        """Read the current version, and those before it.

        Raises:
            StoreError: nothing was published, or the pointer cannot be read.
        """
        pointer, _ = self._read_pointer()
        if pointer is None:
            raise StoreError(
                f"{self.uri} has no {POINTER}: nothing was published there yet. "
                f"Run python -m training publish BUNDLE {self.uri}"
            )
        return pointer

    def read_manifest(self, version: str) -> Manifest:
        """Read the manifest of a version.

        Raises:
            StoreError: it is missing, or the store cannot be read.
            BundleError: it has another format.
        """
        return self._read_manifest(version)[0]

    def publish(
        self,
        path: Path,
        progress: Progress | None = None,
        note: str = "",
        check: Callable[[Manifest | None], object] | None = None,
    ) -> str:
        """Store the bundle in folder `path`, make it the current version, and return its version.

        A version that is already there is verified, and never written again.

        Args:
            path: the bundle's folder.
            progress: called from any thread with the number of bytes just stored, of the files that
                the manifest lists.
            note: kept with the version.
            check: called with the manifest of the current version, unless it is this one, or with
                None in an empty store, before anything is stored; it may raise. If the current
                version changes after that, the publication fails.

        Raises:
            BundleError: the bundle is incomplete.
            StoreError: someone else published meanwhile, or the store cannot be written.
        """
        bundle = read_bundle(path)
        pointer, tag = self._read_pointer()
        if check and (pointer is None or pointer.version != bundle.manifest.version):
            check(self.read_manifest(pointer.version) if pointer else None)
        if self._read(bundle_key(bundle.manifest.version, MANIFEST)) is None:
            self._add(bundle, progress)
        published = self._find(bundle, note)
        self._check(published)
        history = pointer.history if pointer else ()
        if not history or history[-1].version != published.version:
            self._move_pointer((*history, published), tag)
        return published.version

    def rollback(self) -> str:
        """Make the version before the current one current again, and return it.

        Raises:
            StoreError: there is none, it is incomplete, or someone else published meanwhile.
        """
        pointer, tag = self._read_pointer()
        if pointer is None or not pointer.previous:
            raise StoreError(f"{self.uri} has no earlier version to roll back to.")
        self._check(pointer.previous[-1])
        self._move_pointer(pointer.previous, tag)
        return pointer.previous[-1].version

    def _read_pointer(self) -> tuple[Pointer | None, str | None]:
        found = self._read(POINTER)
        if found is None:
            return None, None
        try:
            return Pointer.model_validate_json(found[0]), found[1]
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"])) or "content"
            raise StoreError(
                f"{self.uri}/{POINTER} is not valid: {field}: {fault['msg']}. "
                "Delete it and publish a bundle again."
            ) from error

    def _move_pointer(self, history: tuple[Published, ...], tag: str | None) -> None:
        previous = history[-1 - ROLLBACK_DEPTH : -1]
        pointer = Pointer(**history[-1].model_dump(), previous=previous)
        if self._write(POINTER, pointer.model_dump_json(indent=2).encode(), tag):
            return
        # A write whose response was lost is repeated, and then finds its own result.
        if self._read_pointer()[0] != pointer:
            raise StoreError(
                f"Someone else published to {self.uri} meanwhile, and that version stays current. "
                f"Repeat the command if {pointer.version} is to replace it."
            )

    def _read_manifest(self, version: str) -> tuple[Manifest, bytes]:
        key = bundle_key(version, MANIFEST)
        found = self._read(key)
        if found is None:
            raise StoreError(f"{self.uri}/{key} is missing. {INCOMPLETE}")
        return parse_manifest(found[0], f"{self.uri}/{key}"), found[0]

    def _find(self, bundle: Bundle, note: str) -> Published:
        manifest, content = self._read_manifest(bundle.manifest.version)
        # Two exports of one model give manifests that differ only in their time.
        if manifest != bundle.manifest.model_copy(update={"created": manifest.created}):
            raise StoreError(
                f"{self.uri}/{bundle_key(manifest.version, MANIFEST)} says something else of the "
                "same files, and what is published never changes. Put the change into the model "
                "card, too, and export the bundle again."
            )
        return Published(version=manifest.version, manifest_sha256=sha256_of(content), note=note)

    def _check(self, published: Published) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.open_version(published, Path(folder))


def bundle_key(version: str, *name: str) -> str:
    """Return the key of a version, or of one of its files, below the root of a store."""
    return "/".join(("bundles", version, *name))


def verify_manifest(published: Published, folder: Path, where: str) -> Manifest:
    """Compare the manifest in `folder` with what was published; `where` is named in errors.

    Raises:
        StoreError: it is missing or damaged.
        BundleError: it has another format.
    """
    try:
        content = read_start(folder / MANIFEST, MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise StoreError(f"{where}/{MANIFEST} cannot be read. {INCOMPLETE}") from error
    if sha256_of(content) != published.manifest_sha256:
        raise StoreError(f"{where}/{MANIFEST} is not the one that was published. {INCOMPLETE}")
    return parse_manifest(content, f"{where}/{MANIFEST}")


def verify_version(published: Published, folder: Path, where: str) -> Bundle:
    """Compare every byte in `folder` with what was published; `where` is named in errors.

    Raises:
        StoreError: a file is missing or damaged.
        BundleError: the manifest has another format.
    """
    manifest = verify_manifest(published, folder, where)
    for name, entry in manifest.files.items():
        try:
            verify_file(folder / name, entry)
        except BundleError as error:
            raise StoreError(f"{where}/{name} is missing or damaged. {INCOMPLETE}") from error
    return Bundle(folder, manifest)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock on `folder`, which is created if necessary."""
    with disk_faults_explained():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_SECONDS):
            yield


@contextmanager
def disk_faults_explained() -> Iterator[None]:
    """Turn errors of the disk into a StoreError."""
    try:
        yield
    except OSError as error:  # the lock's timeout is one too
        raise StoreError(
            f"{error}. Check the permissions, the free space, and that no other process hangs."
        ) from error


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
