"""A store in a folder of this machine."""

import shutil
from contextlib import suppress
from pathlib import Path

from processing.bundle import FILES, MANIFEST, MAX_MANIFEST_BYTES, Bundle
from processing.files import filling, read_start, replacing
from processing.store.base import (
    Progress,
    Published,
    Store,
    StoreError,
    bundle_key,
    disk_faults_explained,
    locked,
    sha256_of,
    verify_version,
)


class FolderStore(Store):
    """A store whose tags are the SHA-256 of the objects."""

    def __init__(self, uri: str):
        super().__init__(uri)
        self._root = Path(uri)
        with disk_faults_explained():
            if not uri or not self._root.is_dir():
                raise StoreError(f"{uri!r} is not a folder. Create it, or correct the path.")

    def list_versions(self) -> list[str]:
        """List the versions that have a manifest, in the order in which they were stored."""
        manifests = list(self._root.glob(bundle_key("[!.]*", MANIFEST)))
        manifests.sort(key=lambda path: path.stat().st_mtime_ns)
        return [path.parent.name for path in manifests]

    def open_version(self, published: Published, cache: Path) -> Bundle:
        """Verify the version in its place, without the use of `cache`."""
        folder = self._root / bundle_key(published.version)
        return verify_version(published, folder, where=str(folder))

    def _read(self, key: str) -> tuple[bytes, str] | None:
        with disk_faults_explained(), suppress(FileNotFoundError):
            content = read_start(self._root / key, MAX_MANIFEST_BYTES + 1)
            if len(content) > MAX_MANIFEST_BYTES:
                raise StoreError(f"{self._root / key} is larger than {MAX_MANIFEST_BYTES} bytes.")
            return content, sha256_of(content)
        return None

    def _write(self, key: str, content: bytes, tag: str | None) -> bool:
        with locked(self._root):
            found = self._read(key)
            if (found and found[1]) != tag:
                return False
            with replacing(self._root / key, locked=True, sync=True) as partial:
                partial.write_bytes(content)
        return True

    def _add(self, bundle: Bundle, progress: Progress | None) -> None:
        folder = self._root / bundle_key(bundle.manifest.version)
        with locked(self._root):
            if folder.exists():  # another publisher was first; `publish` verifies the result
                return
            folder.parent.mkdir(exist_ok=True)
            with filling(folder, locked=True, sync=True) as partial:
                for name in (*FILES, MANIFEST):
                    shutil.copyfile(bundle.path / name, partial / name)
                    if progress and name in bundle.manifest.files:
                        progress(bundle.manifest.files[name].size_bytes)
