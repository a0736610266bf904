"""DICOM files as dermatoscopes' archives hold them, on the command line."""

import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    VLPhotographicImageStorage,
    generate_uid,
)

from app.command import main
from app.dicom import extract_photo
from processing.bundle import Bundle
from processing.drawing import draw_photo
from processing.refusals import BrokenImageError, ImageError
from tests.app.conftest import encode

PIXELS = draw_photo(1, 640, irregular=True)
PATIENT = "Doe^Jane"


def make_dicom(
    syntax: UID = ExplicitVRLittleEndian,
    colours: str = "RGB",
    content: bytes | None = None,
    **elements: Any,
) -> bytes:
    """A photo of a patient; `content` is a frame that is compressed already."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = VLPhotographicImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName = PATIENT
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = PIXELS.shape
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = colours, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = PIXELS.tobytes() if content is None else encapsulate([content])
    dataset["PixelData"].VR = "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return save(dataset)


def save(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def compress_by_runs() -> bytes:
    dataset = dcmread(io.BytesIO(make_dicom()))
    dataset.compress(RLELossless)
    return save(dataset)


def forget_colours(jpeg: bytes) -> bytes:
    """A JPEG of red, green and blue that does not say so."""
    start = jpeg.index(b"\xff\xee")  # Adobe's segment
    changed = bytearray(jpeg[:start] + jpeg[start + 16 :])
    frame, scan = changed.index(b"\xff\xc0"), changed.index(b"\xff\xda")
    for number in range(3):
        changed[frame + 10 + 3 * number] = changed[scan + 5 + 2 * number] = number + 1
    return bytes(changed)


def read_pixels(dicom: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(extract_photo(dicom))), np.int16)


def classify(served: Bundle, *arguments: object, given: bytes | None = None) -> Result:
    words = ["classify", *map(str, arguments), "--model", str(served.path)]
    return CliRunner().invoke(main, words, input=given)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_pixels_that_are_not_compressed_stay_as_they_are(syntax: UID) -> None:
    assert (read_pixels(make_dicom(syntax)) == PIXELS).all()


def test_pixels_that_are_compressed_by_runs_stay_as_they_are() -> None:
    assert (read_pixels(compress_by_runs()) == PIXELS).all()


def test_brightness_and_colour_become_red_green_and_blue() -> None:
    apart = Image.fromarray(PIXELS).convert("YCbCr").tobytes()
    assert np.abs(read_pixels(make_dicom(colours="YBR_FULL", PixelData=apart)) - PIXELS).max() <= 3


def test_a_jpeg_is_handed_on_as_it_is() -> None:
    jpeg = encode(PIXELS, quality=92)
    dicom = make_dicom(JPEGBaseline8Bit, "YBR_FULL_422", jpeg)
    assert extract_photo(dicom).rstrip(b"\0") == jpeg.rstrip(b"\0")


def test_a_jpeg_of_red_green_and_blue_keeps_its_colours() -> None:
    jpeg = encode(PIXELS, quality=92, keep_rgb=True)
    for content in (jpeg, forget_colours(jpeg)):
        dicom = make_dicom(JPEGBaseline8Bit, "RGB", content)
        assert np.abs(read_pixels(dicom) - PIXELS).max() < 30
    wrong = np.asarray(Image.open(io.BytesIO(forget_colours(jpeg))), np.int16)
    assert np.abs(wrong - PIXELS).max() > 100


@pytest.mark.parametrize(
    ("dicom", "says"),
    [
        (make_dicom(JPEG2000Lossless, "YBR_RCT", b"frame"), "not a colour photo"),
        (make_dicom(JPEG2000Lossless, "RGB", b"frame"), "gdcmconv --raw"),
        (make_dicom(colours="MONOCHROME2", SamplesPerPixel=1), "not a colour photo"),
        (make_dicom(NumberOfFrames=2, PixelData=2 * PIXELS.tobytes()), "animated"),
        (make_dicom(Rows=60_000, Columns=60_000), "more than 30 megapixels"),
        (make_dicom(DeflatedExplicitVRLittleEndian), "deflated"),
        (make_dicom()[:5000], "damaged"),
        (b"\0" * 128 + b"DICM", "damaged"),
    ],
    # The files have made-up identifiers, and every process has to collect the same tests.
    ids=["ycc", "jpeg-2000", "grey", "frames", "pixels", "deflated", "truncated", "empty"],
)
def test_what_cannot_be_read_is_explained(dicom: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        extract_photo(dicom)


def test_a_damaged_file_is_refused_whatever_the_damage() -> None:
    random = np.random.default_rng(0)
    refused = 0
    for original in (make_dicom(), compress_by_runs()):
        for _ in range(100):
            damaged = bytearray(original)
            for place in random.integers(132, 1000, 20):
                damaged[place] = random.integers(256)
            try:
                extract_photo(bytes(damaged))
            except ImageError as error:
                refused += isinstance(error, BrokenImageError)
    assert refused > 50


def test_what_a_parser_complains_of_is_not_quoted(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    # The patient's name where a number should be, and a photo without its last bytes.
    named = make_dicom(NumberOfFrames="00000001").replace(b"00000001", PATIENT.encode())
    refusals = []
    for dicom in (named, named[:-5000], make_dicom()[:-5000]):
        with pytest.raises(BrokenImageError) as refused:
            extract_photo(dicom)
        refusals.append(refused.value)
    said = [*capfd.readouterr(), *map(repr, refusals), *(str(each.message) for each in recwarn)]
    assert not any("Doe" in text for text in said), said


def test_an_archive_is_classified_whatever_its_files_are_called(
    served: Bundle, tmp_path: Path
) -> None:
    jpeg = encode(PIXELS, quality=92)
    dicom = make_dicom(JPEGBaseline8Bit, "YBR_FULL_422", jpeg)
    for name in ("IM000001", "1.2.840.113619", "photo.dcm"):
        (tmp_path / name).write_bytes(dicom)
    (tmp_path / "photo.jpg").write_bytes(jpeg)
    (tmp_path / "DICOMDIR.txt").write_text("no photo")
    result = classify(served, tmp_path)
    assert "1 files were skipped" in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    names = ["1.2.840.113619", "IM000001", "photo.dcm", "photo.jpg"]
    assert [row["name"] for row in rows] == names
    assert len({row["probability"] for row in rows} - {""}) == 1
    (read,) = csv.DictReader(io.StringIO(classify(served, "-", given=dicom).stdout))
    assert read["probability"] == rows[0]["probability"]
    assert "Doe" not in result.output


def test_without_the_extra_the_remedy_is_told_before_the_first_photo(
    served: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)  # as Python has it: not to be found
    (tmp_path / "photo.dcm").write_bytes(make_dicom())
    result = classify(served, tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "1 of the photos are DICOM files" in result.stderr
    assert "pip install -r requirements-dicom.txt" in result.stderr
    assert "requirements-dicom.txt" in classify(served, "-", given=make_dicom()).stdout
