"""Where bundles live: an S3 bucket or a folder.

<root>/bundles/<version>/...   never changed once its manifest is there
<root>/current.json            the version in force and those before it

The files are stored first, then the manifest, then the pointer moves, if nobody else moved it
meanwhile: who follows the pointer finds a whole bundle at any time.
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
    Bundle,
    BundleError,
    Manifest,
    Sha256,
    parse_manifest,
    read_bundle,
    verify_file,
)

POINTER = "current.json"
ROLLBACK_DEPTH = 20
LOCK_TIMEOUT_SECONDS = 600
NOT_WHOLE = "This version is not whole: roll back, or delete its folder and publish it again."

Progress = Callable[[int], object]


class StoreError(Exception):
    """A store that cannot be read or written; the text says what is wrong and what to do."""


class Published(BaseModel, frozen=True):
    """A version in a store; the manifest's hash vouches for it, and the manifest for the files."""

    version: Sha256
    manifest_sha256: Sha256
    note: str = ""  # what its publisher wants remembered


class Pointer(Published, frozen=True):
    """What `current.json` says: the version in force, and those before it, the newest last."""

    previous: tuple[Published, ...] = ()

    @property
    def history(self) -> tuple[Published, ...]:
        """The versions that were in force, and last the one that is."""
        return (*self.previous, Published(**self.model_dump(exclude={"previous"})))


class Store(ABC):
    """Bundles under one root: the algorithm, but not how bytes get there and back."""

    def __init__(self, uri: str):
        self.uri = uri

    @abstractmethod
    def list_versions(self) -> list[str]:
        """The versions that have a manifest, in the order in which they were stored."""

    @abstractmethod
    def open_version(self, published: Published, cache: Path) -> Bundle:
        """Verify a version, and have it in `cache` unless it lies on this machine's disk already.

        Raises:
            StoreError: the version is not whole, or the store cannot be read.
            BundleError: its manifest is of another format.
        """

    @abstractmethod
    def _read(self, key: str) -> tuple[bytes, str] | None:
        """Content and tag of an object, or None if there is none."""

    @abstractmethod
    def _write(self, key: str, content: bytes, tag: str | None) -> bool:
        """Write an object if it still has `tag` (None: if there is none), else return False."""

    @abstractmethod
    def _add(self, bundle: Bundle, progress: Progress | None) -> None:
        """Store the files, then the manifest."""

    def read_pointer(self) -> Pointer:
        """The version in force, and those before it.

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
        """The manifest of a version.

        Raises:
            StoreError: it is missing, or the store cannot be read.
            BundleError: it is of another format.
        """
        return self._read_manifest(version)[0]

    def publish(
        self,
        path: Path,
        progress: Progress | None = None,
        note: str = "",
        check: Callable[[Manifest], object] | None = None,
    ) -> str:
        """Store the bundle in folder `path`, put it in force, and return its version.

        A version that is there already is verified, and never written again. `progress` is called
        from any thread with the number of bytes just stored, of all that the manifest lists.
        `note` is kept with the version. `check` is called with the manifest of another version
        that is in force, before anything is stored; it may raise, and who replaces that version
        meanwhile is not overwritten unseen.

        Raises:
            BundleError: the bundle is not whole.
            StoreError: someone else published meanwhile, or the store cannot be written.
        """
        bundle = read_bundle(path)
        pointer, tag = self._read_pointer()
        if check and pointer and pointer.version != bundle.manifest.version:
            check(self.read_manifest(pointer.version))
        if self._read(bundle_key(bundle.manifest.version, MANIFEST)) is None:
            self._add(bundle, progress)
        published = self._find(bundle, note)
        self._check(published)
        history = pointer.history if pointer else ()
        if not history or history[-1].version != published.version:
            self._move_pointer((*history, published), tag)
        return published.version

    def rollback(self) -> str:
        """Put the version before the one in force back in force, and return it.

        Raises:
            StoreError: there is none, it is not whole, or someone else published meanwhile.
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
        # A write whose answer got lost is sent again, and then meets its own result.
        if self._read_pointer()[0] != pointer:
            raise StoreError(
                f"Someone else published to {self.uri} meanwhile, and theirs stays in force. "
                f"Look at it, and repeat the command if {pointer.version} is to replace it."
            )

    def _read_manifest(self, version: str) -> tuple[Manifest, bytes]:
        key = bundle_key(version, MANIFEST)
        found = self._read(key)
        if found is None:
            raise StoreError(f"{self.uri}/{key} is missing. {NOT_WHOLE}")
        return parse_manifest(found[0], f"{self.uri}/{key}"), found[0]

    def _find(self, bundle: Bundle, note: str) -> Published:
        manifest, content = self._read_manifest(bundle.manifest.version)
        # Exporting a model twice gives two manifests that differ in the time alone.
        if manifest != bundle.manifest.model_copy(update={"created": manifest.created}):
            raise StoreError(
                f"{self.uri}/{bundle_key(manifest.version, MANIFEST)} says other things of the "
                "same files, and what is published "
                "never changes. Say it in the model card too, and export the bundle again."
            )
        return Published(version=manifest.version, manifest_sha256=sha256_of(content), note=note)

    def _check(self, published: Published) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.open_version(published, Path(folder))


def bundle_key(version: str, *name: str) -> str:
    """The key of a version, or of one file of it, below a store's root."""
    return "/".join(("bundles", version, *name))


def verify_version(published: Published, folder: Path, where: str) -> Bundle:
    """Compare every byte in `folder` with what was published; faults are told of `where`.

    Raises:
        StoreError: something is missing or damaged.
        BundleError: the manifest is of another format.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise StoreError(f"{where}/{MANIFEST} cannot be read. {NOT_WHOLE}") from error
    if sha256_of(content) != published.manifest_sha256:
        raise StoreError(f"{where}/{MANIFEST} is not the one that was published. {NOT_WHOLE}")
    manifest = parse_manifest(content, f"{where}/{MANIFEST}")
    for name, entry in manifest.files.items():
        try:
            verify_file(folder / name, entry)
        except BundleError as error:
            raise StoreError(f"{where}/{name} is missing or damaged. {NOT_WHOLE}") from error
    return Bundle(folder, manifest)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`, which is made if need be."""
    with disk_faults_explained():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_SECONDS):
            yield


@contextmanager
def disk_faults_explained() -> Iterator[None]:
    """Turn what the disk refuses into a StoreError."""
    try:
        yield
    except OSError as error:  # the lock's timeout is one too
        raise StoreError(
            f"{error}. Check the rights, the free space, and that no other process hangs."
        ) from error


def sha256_of(content: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(content).hexdigest()
