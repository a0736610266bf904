"""Photos within DICOM files, as dermatoscopes' archives hold them. Needs pydicom, an extra.

What is in the file is handed on as a JPEG, without being decoded, or as a PNG of its pixels; both
then go the way of every photo. Elements about the patient are neither read nor shown.
"""

import importlib.util
import io
import logging
import warnings
from typing import TYPE_CHECKING

from PIL import Image

from processing.refusals import (
    AnimatedImageError,
    BrokenImageError,
    TooManyPixelsError,
    UnsupportedImageError,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

HEAD_BYTES = 132  # from which a DICOM file can be known
REMEDY = "To read them, install pydicom: pip install -r requirements-dicom.txt"
_MAX_MEGAPIXELS = 30  # as of a PNG
_JPEGS = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")  # baseline; extended, if of 8 bits
_UNCOMPRESSED = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"),
    "1.2.840.10008.1.2.5",  # RLE, which pydicom decodes in Python
)
_DEFLATED = b"1.2.840.10008.1.2.1.99"  # would be unpacked whole before anything is known of it
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422")
_READ = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    "PixelData",
)
# Says that the three components of a JPEG are red, green and blue; without it, decoders take them
# for YCbCr.
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def is_dicom(data: bytes) -> bool:
    """Return whether a file that begins with these bytes is a DICOM file."""
    return data[128:HEAD_BYTES] == b"DICM"


def can_read_dicom() -> bool:
    """Return whether pydicom is installed."""
    return importlib.util.find_spec("pydicom") is not None


def extract_photo(data: bytes) -> bytes:
    """Return the photo of a DICOM file, as a JPEG or PNG file.

    Raises:
        ImageError: it has no photo, several, or one of a kind that is not read; or pydicom is not
            installed.
    """
    if not can_read_dicom():
        raise UnsupportedImageError("This is a DICOM file. " + REMEDY)
    if _DEFLATED in data[:2000]:
        raise UnsupportedImageError("The DICOM file is deflated as a whole. Save it without that.")
    try:
        return _extract(data)
    except (UnsupportedImageError, TooManyPixelsError):
        raise
    # Parsers fail in many ways on what is damaged, and their words may quote the patient's data.
    except Exception:  # noqa: BLE001
        raise BrokenImageError("The DICOM file is damaged. Send the original again.") from None


def _extract(data: bytes) -> bytes:
    from pydicom import config, dcmread
    from pydicom.pixels.utils import pixel_array

    # Its complaints quote what they are about.
    config.settings.reading_validation_mode = config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    dataset = dcmread(io.BytesIO(data), specific_tags=list(_READ))
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    _require_colour_photo(dataset)
    if syntax in _JPEGS and dataset.BitsAllocated == 8:
        return _take_jpeg(dataset)
    if syntax not in _UNCOMPRESSED or dataset.BitsAllocated != 8:
        raise UnsupportedImageError(
            "The DICOM file is compressed in a way that is not read. Save it as JPEG Baseline or "
            "uncompressed, such as with gdcmconv --raw."
        )
    file = io.BytesIO()
    Image.fromarray(pixel_array(dataset)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _require_colour_photo(dataset: "Dataset") -> None:
    if "PixelData" not in dataset:
        raise UnsupportedImageError("The DICOM file has no picture.")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise AnimatedImageError
    if dataset.SamplesPerPixel != 3 or dataset.PhotometricInterpretation not in _COLOURS:
        raise UnsupportedImageError("The DICOM file's picture is not a colour photo.")
    if dataset.Rows * dataset.Columns > _MAX_MEGAPIXELS * 1_000_000:
        raise TooManyPixelsError(_MAX_MEGAPIXELS)


def _take_jpeg(dataset: "Dataset") -> bytes:
    from pydicom.encaps import get_frame

    jpeg = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if dataset.PhotometricInterpretation == "RGB" and b"Adobe\x00" not in jpeg[:1000]:
        return jpeg[:2] + _ADOBE_RGB + jpeg[2:]
    return jpeg
