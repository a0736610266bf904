"""The last bundle in service, kept in the cache for a start while its store cannot be read."""

import re
import shutil
from pathlib import Path

from pydantic import ValidationError

from processing.bundle import MANIFEST, Bundle
from processing.files import replacing
from processing.store.base import Published, StoreError, locked, sha256_of, verify_version

_NOTES = "last-good-*.json"


def remember(uri: str, bundle: Bundle, cache: Path) -> None:
    """Note in `cache` that this bundle of `uri` is good, and remove bundles that no note names.

    Raises:
        StoreError: the cache cannot be written.
    """
    published = Published(
        version=bundle.manifest.version,
        manifest_sha256=sha256_of((bundle.path / MANIFEST).read_bytes()),
    )
    with locked(cache):
        with replacing(_note_of(uri, cache), locked=True, sync=True) as partial:
            partial.write_text(published.model_dump_json())
        noted = {version for note in cache.glob(_NOTES) if (version := _read_version(note))}
        for folder in cache.iterdir():
            if re.fullmatch("[0-9a-f]{64}", folder.name) and folder.name not in noted:
                shutil.rmtree(folder)


def recall(uri: str, cache: Path) -> Bundle:
    """Read the bundle that `remember` noted last for `uri`, from `cache` alone.

    Raises:
        StoreError: there is none, or it is damaged.
        BundleError: it has another format.
    """
    try:
        published = Published.model_validate_json(_note_of(uri, cache).read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(f"{cache} has no model of {uri}.") from error
    folder = cache / published.version
    return verify_version(published, folder, str(folder))


def _read_version(note: Path) -> str | None:
    try:
        return Published.model_validate_json(note.read_bytes()).version
    except ValidationError:  # cut short by a power failure, say; what it named is fetched again
        return None


def _note_of(uri: str, cache: Path) -> Path:
    return cache / _NOTES.replace("*", sha256_of(uri.encode())[:16])
