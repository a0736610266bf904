"""Bundles made from others."""

from collections.abc import Mapping
from pathlib import Path

from processing.bundle import FILES, Bundle, write_bundle


def repack(
    bundle: Bundle, path: Path, files: Mapping[str, bytes] | None = None, **changes: object
) -> Bundle:
    """Write `bundle` to `path` with some files or the description changed, and correct hashes."""
    description = bundle.manifest.model_copy(update=changes)
    contents = {file: (bundle.path / file).read_bytes() for file in FILES} | dict(files or {})
    return write_bundle(path, description, contents)
