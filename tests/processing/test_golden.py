"""Golden files that hold something else, or unpack to more than anyone expects."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from processing.golden import read_golden


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


IMAGES, PROBABILITY = npy(np.zeros((2, 4, 4, 3), np.uint8)), npy(np.zeros(2, np.float32))


def pack(path: Path, images: bytes, probability: bytes = PROBABILITY, method: int = 8) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("images.npy", images)
        archive.writestr("probability.npy", probability)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_golden_images_are_read(tmp_path: Path, method: int) -> None:
    images, probability = read_golden(pack(tmp_path / "golden", IMAGES, method=method))
    assert images.shape == (2, 4, 4, 3)
    assert probability.tolist() == [0, 0]


def declare(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    """An array that declares a shape and holds nothing."""
    file = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (b"", "cannot be unpacked|magic"),
        (b"\x93NUMPY", "."),
        (npy(np.zeros((2, 4, 4, 3), np.float32)), "images is float32"),
        (npy(np.zeros((2, 4, 4), np.uint8)), "of shape"),
        (npy(np.zeros((2, 4, 5, 3), np.uint8)), "its arrays have shapes"),
        (npy(np.zeros((1, 4, 4, 3), np.uint8)), "its arrays have shapes"),
        (npy(np.zeros((0, 4, 4, 3), np.uint8)), "at most 64"),
        (npy(np.zeros((65, 4, 4, 3), np.uint8)), "at most 64"),
        (npy(np.array([[[[object()]]]])), "images is object"),
        (declare((2, 1 << 40, 1 << 40, 3)), "at most 64"),
        (declare((2, -4, -4, 3)), "."),
        (declare((2, 4, 4, 3)), "another length"),
        (IMAGES + b"x", "another length"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, images: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_golden(pack(tmp_path / "golden", images))


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "golden", declare((60, 1000, 1000, 3)) + bytes(180_000_000))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match="at most 64 images of together"):
        read_golden(path)


@pytest.mark.parametrize("content", [b"", b"golden", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "golden").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_golden(tmp_path / "golden")


def test_a_packing_that_chooses_its_own_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another method"):
        read_golden(pack(tmp_path / "golden", IMAGES, method=zipfile.ZIP_LZMA))
