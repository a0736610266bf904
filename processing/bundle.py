"""The model bundle: a folder with all that serving needs, and hashes that prove it complete.

manifest.json   what the model is, how it was measured, SHA-256 of the other files
model.tflite    (B, S, S, 3) uint8 RGB -> probability, logit, distance (B,), cam (B, h, w),
                embedding (B, D), by_view (B, V): the probability of each orientation averaged;
                modality (B,): the probability that the photo is dermoscopic, if it can tell
golden.npz      images and the probabilities that the graph must give for them
MODEL_CARD.md   the model card, for people
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from processing.files import filling, read_start
from processing.golden import MAX_BYTES as MAX_GOLDEN_BYTES
from processing.golden import read_golden
from processing.manifest import Description, FileEntry, Manifest

FORMAT_VERSION = 2  # format 1, which has no pixel path, can also be read
MANIFEST, MODEL, GOLDEN, CARD = "manifest.json", "model.tflite", "golden.npz", "MODEL_CARD.md"
FILES = (MODEL, GOLDEN, CARD)
# Whoever may write to a store must not be able to fill the disk or the memory of those who read it.
MAX_MANIFEST_BYTES = 1_000_000
MAX_BYTES = {MODEL: 1_000_000_000, GOLDEN: MAX_GOLDEN_BYTES, CARD: 1_000_000}
SIGNATURE = "serve"  # the graph's only one
ORIENTATIONS = 8  # four quarter turns, and the same of the mirror image
# Which orientations a graph averages: the photo, itself with rows as columns, four, all eight.
# With V views, those of `orient(images, k)` for k < ORIENTATIONS / V are all eight, each once. Two
# that differ by a quarter turn tell more of the other six than two that do not
# (docs/experiments.md).
VIEWS = {1: (0,), 2: (0, 5), 4: (0, 2, 4, 6), 8: tuple(range(ORIENTATIONS))}
# A larger difference from a golden probability means another model or a broken runtime.
GOLDEN_TOLERANCE = 1e-3


class BundleError(Exception):
    """A bundle that cannot be used; the text names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on this machine's disk."""

    path: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """Path of the graph."""
        return self.path / MODEL

    def read_card(self) -> str:
        """Read the model card, Markdown.

        Raises:
            BundleError: it cannot be read, or is not text.
        """
        try:
            return (self.path / CARD).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise BundleError(f"{self.path / CARD} is no text in UTF-8: {error}.") from error

    def read_golden(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Read the golden images (N, S, S, 3) and their probabilities (N,).

        Raises:
            BundleError: the file holds something else, or is too large.
        """
        try:
            return read_golden(self.path / GOLDEN)
        except (OSError, ValueError) as error:
            raise BundleError(
                f"{self.path / GOLDEN} has no golden images: {error}. Export the model again."
            ) from error

    def check_golden(self, answer: Callable[[NDArray[np.uint8]], NDArray[np.floating]]) -> None:
        """Compare the graph's probabilities for its golden images with those at its export.

        Args:
            answer: loads and runs the graph: images (N, S, S, 3) -> probabilities (N,).

        Raises:
            BundleError: there are none, the graph cannot be run, or they differ by more than
                `GOLDEN_TOLERANCE`.
        """
        images, expected = self.read_golden()
        try:
            answers = answer(images)
        # What LiteRT raises for a graph with another signature, input or output.
        except (ValueError, RuntimeError, KeyError) as error:
            raise BundleError(
                f"{self.model_path} is not a graph that can be served: {error}. Export it again."
            ) from error
        difference = float(np.abs(answers - expected).max())
        if not difference <= GOLDEN_TOLERANCE:  # written so that NaN fails too
            raise BundleError(
                f"{self.path}: the probabilities of the golden images differ by {difference:.2g} "
                f"from those at the export; {GOLDEN_TOLERANCE:g} is allowed. The model or the "
                "runtime is not the one that was exported: export it again."
            )


def orient(images: NDArray[np.uint8], k: int) -> NDArray[np.uint8]:
    """Bring squares (N, S, S, 3) into orientation `k`, 0..7: mirrored from 4 on, then turned."""
    turned = np.rot90(images[:, :, ::-1] if k >= 4 else images, k % 4, axes=(1, 2))
    return np.ascontiguousarray(turned)


def parse_manifest(data: bytes, where: object) -> Manifest:
    """Parse and validate a manifest; `where` is named in the error.

    Raises:
        BundleError: it is too large, is not JSON or has another format version, a field is missing
            or wrong, or the version does not match the files.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{where} has more than {MAX_MANIFEST_BYTES} bytes.")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not JSON: {error}. Publish the bundle again.") from error
    found = fields.get("format_version") if isinstance(fields, dict) else None
    if found not in range(1, FORMAT_VERSION + 1):
        raise BundleError(
            f"{where} has format_version {found!r}; this code reads 1 to {FORMAT_VERSION}. "
            "Update the app, or export the model again."
        )
    if found == 1 and isinstance(fields.get("input"), dict):
        fields["input"].setdefault("pixel_path", 1)
    try:
        # From JSON, in strict mode: lists become tuples, and texts become times.
        manifest = Manifest.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "manifest"
        raise BundleError(f"{where}: {field}: {first['msg']}. Export the model again.") from error
    # Checked before any file is opened or fetched: the names become paths and object keys.
    if set(manifest.files) != set(FILES):
        raise BundleError(
            f"{where}: files must be {sorted(FILES)}. Found: {sorted(manifest.files)}"
        )
    _refuse_large(manifest.files, where)
    if manifest.version != _version_of(manifest.files):
        raise BundleError(f"{where}: version does not match the files. Export the model again.")
    return manifest


def _refuse_large(files: Mapping[str, FileEntry], where: object) -> None:
    for name, entry in files.items():
        if entry.size_bytes > MAX_BYTES[name]:
            raise BundleError(
                f"{where}: {name} has {entry.size_bytes} bytes; at most {MAX_BYTES[name]} are read."
            )


def read_manifest(path: Path) -> Manifest:
    """Read the manifest in the file `path`.

    Raises:
        BundleError: it cannot be read, or as `parse_manifest`.
    """
    try:
        data = read_start(path, MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    return parse_manifest(data, path)


def read_bundle(path: Path) -> Bundle:
    """Read the bundle in folder `path` and verify size and SHA-256 of every file.

    Raises:
        BundleError: a file is missing or changed, or the manifest is wrong.
    """
    manifest = read_manifest(path / MANIFEST)
    for name, entry in manifest.files.items():
        verify_file(path / name, entry)
    return Bundle(path, manifest)


def verify_file(path: Path, entry: FileEntry) -> None:
    """Compare a file with its manifest entry.

    Raises:
        BundleError: the file is missing, or has another size or SHA-256.
    """
    remedy = "Fetch or export the bundle again."
    try:
        size_bytes = path.stat().st_size
        if size_bytes != entry.size_bytes:
            raise BundleError(
                f"{path} has {size_bytes} bytes, its manifest says {entry.size_bytes}. {remedy}"
            )
        if _describe_file(path).sha256 != entry.sha256:
            raise BundleError(f"{path} does not match the SHA-256 in its manifest. {remedy}")
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}. {remedy}") from error


def write_bundle(path: Path, description: Description, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle to `path`, completely or not at all.

    Args:
        path: a folder that does not exist yet.
        description: the contents of the manifest; derived fields of another manifest are replaced.
        files: the content of each of `FILES`.

    Raises:
        BundleError: `path` exists, or a file is missing, too large, or not one of `FILES`.
    """
    refuse_existing(path)
    if set(files) != set(FILES):
        raise BundleError(f"A bundle holds {sorted(FILES)}. Received: {sorted(files)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with filling(path) as partial:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        entries = {name: _describe_file(partial / name) for name in files}
        _refuse_large(entries, path)
        manifest = Manifest(
            **dict(description)
            | {
                "format_version": FORMAT_VERSION,
                "version": _version_of(entries),
                "created": datetime.now(UTC).replace(microsecond=0),
                "files": entries,
            }
        )
        text = manifest.model_dump_json(indent=2) + "\n"
        parse_manifest(text.encode(), path / MANIFEST)
        (partial / MANIFEST).write_text(text, encoding="utf-8")
    return read_bundle(path)


def refuse_existing(path: Path) -> None:
    """Fail before hours of work if a bundle could not be written to `path`.

    Raises:
        BundleError: `path` exists.
    """
    if path.exists():
        raise BundleError(f"{path} exists. Remove it, or choose another --out.")


def _describe_file(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=digest, size_bytes=path.stat().st_size)


def _version_of(files: Mapping[str, FileEntry]) -> str:
    """Return the SHA-256 of what `sha256sum` prints for the files, sorted by name."""
    lines = "".join(f"{entry.sha256}  {name}\n" for name, entry in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
