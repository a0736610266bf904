"""Golden images, read within bounds: a file of a megabyte can unpack to any number of them."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_IMAGES = 64
MAX_BYTES = 50_000_000  # of all images together, unpacked
_HEADER_BYTES = 1000
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError)


def read_golden(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Read the golden images (N, S, S, 3) and their probabilities (N,).

    Raises:
        ValueError: the file holds something else, or more than the bounds above.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            images = _read_array(archive, "images", np.uint8, dimensions=4)
            probability = _read_array(archive, "probability", np.float32, dimensions=1)
    except _FAULTS as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error
    count, height, width, channels = images.shape
    if height != width or channels != 3 or probability.shape != (count,):
        raise ValueError(f"its arrays have shapes {images.shape} and {probability.shape}")
    return images, probability


def _read_array(
    archive: zipfile.ZipFile, name: str, kind: type[np.generic], dimensions: int
) -> NDArray[Any]:
    entry = archive.getinfo(f"{name}.npy")
    # The other methods let the file choose how much memory unpacking takes.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is packed by another method than deflate")
    with archive.open(entry) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} has another format than NumPy's 1.0")
        shape, transposed, found = np.lib.format.read_array_header_1_0(
            file, max_header_size=_HEADER_BYTES
        )
        if found != kind or transposed or len(shape) != dimensions:
            raise ValueError(f"{name} is {found} of shape {shape}")
        size_bytes = found.itemsize
        for length in shape:  # Python's numbers do not overflow
            size_bytes *= length
        if not 1 <= shape[0] <= MAX_IMAGES or size_bytes > MAX_BYTES:
            raise ValueError(
                f"{name} has shape {shape}; at most {MAX_IMAGES} images of together {MAX_BYTES} "
                "bytes are read"
            )
        data = file.read(size_bytes + 1)
    if len(data) != size_bytes:
        raise ValueError(f"{name} has another length than its header says")
    return np.frombuffer(bytearray(data), kind).reshape(shape)
