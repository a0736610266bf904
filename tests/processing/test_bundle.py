import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processing.bundle import (
    CARD,
    FILES,
    GOLDEN,
    MANIFEST,
    MODEL,
    Bundle,
    BundleError,
    parse_manifest,
    read_bundle,
    write_bundle,
)
from tests.conftest import DESCRIPTION

Change = Callable[[dict[str, Any]], object]
EditManifest = Callable[[Change], Path]

CONTENTS = {MODEL: b"model", GOLDEN: b"golden", CARD: "# Card: naïve\n".encode()}


@pytest.fixture
def edit_manifest(drawn_bundle: Callable[..., Bundle]) -> EditManifest:
    """A function that writes a bundle, changes its manifest by hand, and returns its folder."""

    def edit(change: Change) -> Path:
        path = drawn_bundle().path
        fields = json.loads((path / MANIFEST).read_text())
        change(fields)
        (path / MANIFEST).write_text(json.dumps(fields))
        return path

    return edit


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "bundle", DESCRIPTION, CONTENTS)

    read = read_bundle(tmp_path / "bundle")

    assert read == written
    assert read.manifest.model_dump(include=set(DESCRIPTION.model_dump())) == (
        DESCRIPTION.model_dump()
    )
    assert read.model_path.read_bytes() == b"model"
    assert read.read_card() == "# Card: naïve\n"
    assert sorted(p.name for p in read.path.iterdir()) == sorted([MANIFEST, *FILES])


def test_golden_images_are_read_back(tmp_path: Path) -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.savez(tmp_path / GOLDEN, images=images, probability=np.array([0.25, 0.75], np.float32))
    contents = {**CONTENTS, GOLDEN: (tmp_path / GOLDEN).read_bytes()}

    bundle = write_bundle(tmp_path / "bundle", DESCRIPTION, contents)

    read_images, probability = bundle.read_golden()
    assert (read_images == images).all()
    assert probability.tolist() == [0.25, 0.75]


def test_version_is_that_of_the_files_alone(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "1", DESCRIPTION, CONTENTS)
    again = write_bundle(tmp_path / "2", DESCRIPTION, dict(reversed(CONTENTS.items())))
    other = write_bundle(tmp_path / "3", DESCRIPTION, {**CONTENTS, MODEL: b"mOdel"})

    assert first.manifest.version == again.manifest.version
    assert first.manifest.version != other.manifest.version


def test_bundle_can_be_read_by_the_user_that_serves(drawn_bundle: Callable[..., Bundle]) -> None:
    if os.name == "nt":
        pytest.skip("Windows has no POSIX permission bits, which this file's access is tested by")
    assert drawn_bundle().path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", FILES)
def test_flipped_byte_is_noticed(name: str, drawn_bundle: Callable[..., Bundle]) -> None:
    path = drawn_bundle().path
    content = bytearray((path / name).read_bytes())
    content[0] ^= 1
    (path / name).write_bytes(content)

    with pytest.raises(BundleError, match=f"{name} does not match the SHA-256"):
        read_bundle(path)


@pytest.mark.parametrize("name", FILES)
def test_file_of_another_size_is_noticed(name: str, drawn_bundle: Callable[..., Bundle]) -> None:
    path = drawn_bundle().path
    (path / name).write_bytes((path / name).read_bytes() + b"!")

    with pytest.raises(BundleError, match=rf"{name} has \d+ bytes, its manifest says \d+"):
        read_bundle(path)


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_missing_file_is_named(name: str, drawn_bundle: Callable[..., Bundle]) -> None:
    path = drawn_bundle().path
    (path / name).unlink()

    with pytest.raises(BundleError, match=f"{name} cannot be read: No such file"):
        read_bundle(path)


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere.manifest.json cannot be read"):
        read_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "foreign", ["../../etc/passwd", "/etc/passwd", "extra.bin", "manifest.json"]
)
def test_foreign_file_in_the_manifest_is_refused_before_it_is_opened(
    foreign: str, edit_manifest: EditManifest
) -> None:
    path = edit_manifest(lambda fields: fields["files"].update({foreign: fields["files"][MODEL]}))

    with pytest.raises(BundleError, match="files must be"):
        read_bundle(path)


def test_manifest_that_lacks_a_file_is_refused(edit_manifest: EditManifest) -> None:
    with pytest.raises(BundleError, match="files must be"):
        read_bundle(edit_manifest(lambda fields: fields["files"].pop(CARD)))


def test_manifest_of_other_files_is_refused(edit_manifest: EditManifest) -> None:
    path = edit_manifest(lambda fields: fields.update(version="0" * 64))

    with pytest.raises(BundleError, match="version does not match the files"):
        read_bundle(path)


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_other_format_version_says_to_update_the_app(
    version: object, edit_manifest: EditManifest
) -> None:
    path = edit_manifest(lambda fields: fields.update(format_version=version, novelty=1))

    with pytest.raises(
        BundleError, match=f"format_version {version!r}; this code reads 1 to 2. Update"
    ):
        read_bundle(path)


def test_a_manifest_of_format_1_means_the_first_pixel_path(
    edit_manifest: EditManifest,
) -> None:
    def make_format_1(fields: dict[str, Any]) -> None:
        fields.update(format_version=1)
        del fields["input"]["pixel_path"]

    assert read_bundle(edit_manifest(make_format_1)).manifest.input.pixel_path == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"<html>"])
def test_manifest_that_is_not_json_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="here is not JSON"):
        parse_manifest(content, "here")


@pytest.mark.parametrize("content", [b"[]", b"1", b"null", b"{}"])
def test_manifest_that_is_other_json_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="here has format_version None"):
        parse_manifest(content, "here")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda fields: fields.pop("licence"), "licence: Field required"),
        (lambda fields: fields["input"].pop("size"), "input.size: Field required"),
        (lambda fields: fields["input"].update(size=0), "input.size: Input should be greater"),
        (lambda fields: fields["input"].update(size="224px"), "input.size: "),
        (lambda fields: fields["input"].update(crop_fraction=1.5), "input.crop_fraction: "),
        (lambda fields: fields["calibration"].update(slope=float("nan")), "calibration.slope: "),
        (lambda fields: fields.update(operating_points=[]), "operating_points: "),
        (lambda fields: fields.update(operating_point="x"), "'x' is none of"),
        (lambda fields: fields.update(novelty=1), "novelty: Extra inputs"),
        (lambda fields: fields["files"][MODEL].update(sha256="0"), "files.model.tflite.sha256: "),
        (lambda fields: fields["files"][MODEL].update(size_bytes=-1), "size_bytes: "),
    ],
)
def test_wrong_field_is_named(change: Change, fault: str, edit_manifest: EditManifest) -> None:
    with pytest.raises(BundleError, match=f"{fault}.*Export the model again"):
        read_bundle(edit_manifest(change))


def test_bundle_is_not_written_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()

    with pytest.raises(BundleError, match="exists. Remove it, or choose another"):
        write_bundle(tmp_path / "bundle", DESCRIPTION, CONTENTS)
    assert list((tmp_path / "bundle").iterdir()) == []


@pytest.mark.parametrize(
    "contents", [{MODEL: b""}, {**CONTENTS, "extra": b""}, {**CONTENTS, "../x": b""}]
)
def test_missing_and_foreign_files_are_not_written(
    contents: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="A bundle holds"):
        write_bundle(tmp_path / "bundle", DESCRIPTION, contents)
    assert list(tmp_path.iterdir()) == []


class InterruptedContents(dict[str, bytes]):
    """Contents whose making is interrupted after the first file."""

    def items(self) -> Any:
        yield MODEL, b"model"
        raise KeyboardInterrupt


def test_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "runs" / "bundle", DESCRIPTION, InterruptedContents(CONTENTS))
    assert list((tmp_path / "runs").iterdir()) == []


def test_bundle_can_be_moved(drawn_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = drawn_bundle()
    shutil.move(bundle.path, tmp_path / "elsewhere")

    assert read_bundle(tmp_path / "elsewhere").manifest == bundle.manifest


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda fields: fields["input"].update(size=2049), "input.size: "),
        (lambda fields: fields["label"].update(name="x" * 201), "label.name: "),
        (lambda fields: fields["label"].update(covers="x" * 2001), "label.covers: "),
        (lambda fields: fields.update(attribution=["x"] * 1001), "attribution: "),
        (lambda fields: fields.update(scores=[0.0] * 101), "scores: "),
        (lambda fields: fields["files"][MODEL].update(size_bytes=1_000_000_001), "at most"),
        (lambda fields: fields["files"][GOLDEN].update(size_bytes=50_000_001), "at most"),
        (lambda fields: fields["files"][CARD].update(size_bytes=1_000_001), "at most"),
        (lambda fields: fields.update(training={"x": "y" * 1_000_000}), "more than 1000000 bytes"),
    ],
)
def test_what_is_larger_than_any_bundle_is_refused(
    change: Change, fault: str, edit_manifest: EditManifest
) -> None:
    with pytest.raises(BundleError, match=fault):
        read_bundle(edit_manifest(change))


def test_a_manifest_of_nothing_but_brackets_is_refused() -> None:
    with pytest.raises(BundleError, match="here is not JSON"):
        parse_manifest(b"[" * 100_000, "here")


def test_a_bundle_that_nobody_would_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="MODEL_CARD.md has 1000001 bytes"):
        write_bundle(tmp_path / "bundle", DESCRIPTION, {**CONTENTS, CARD: b"x" * 1_000_001})
    assert not list(tmp_path.iterdir())


def test_a_card_that_is_no_text_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", DESCRIPTION, {**CONTENTS, CARD: b"\xff"})
    with pytest.raises(BundleError, match="MODEL_CARD.md is no text"):
        bundle.read_card()
