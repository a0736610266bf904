"""The process that decodes: `python -m processing.decoding.child MAX_BYTES CPU_SECONDS`.

It reads requests from standard input and writes answers to standard output, until the input ends
with the process that started it. It has nothing to say anywhere else, so that no byte of a photo
gets into a log.
"""

import gc
import os
import signal
import sys
import warnings
from typing import BinaryIO

from PIL import Image, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

from processing.decoding import wire
from processing.decoding.limits import bound_memory, bound_process, bound_time
from processing.framing import Framing
from processing.image import cut_squares, read_square, shrink_centre
from processing.refusals import ImageError, TooMuchMemoryError

_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGBREAK")


def main() -> None:
    """Answer requests until the input ends."""
    for name in _IGNORED:  # meant for the process that asks, and it may still have photos
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    warnings.simplefilter("ignore")
    max_bytes, cpu_seconds = int(sys.argv[1]), float(sys.argv[2])
    asked, answered = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    Image.preinit()
    at_rest = bound_process()
    gc.collect()
    gc.freeze()
    answered.write(wire.READY)
    answered.flush()
    while True:
        wanted, number, length = wire.unpack_request(_read(asked, wire.REQUEST_BYTES))
        framings = wire.unpack_framings(_read(asked, number * wire.FRAMING_BYTES))
        # The other process holds the photo, too.
        available = max_bytes - length
        with bound_time(cpu_seconds):
            try:
                bound_memory(at_rest, available)
                data = _read(asked, length)
                answer = _answer(data, wanted, framings, available - length)
            except MemoryError:
                answer, data = wire.pack_refusal(TooMuchMemoryError()), b""
        answered.write(answer)
        answered.flush()
        if len(answer) == wire.ANSWER_BYTES:  # a refusal: exceptions hold what they met in circles
            gc.collect()
        del answer, data


def _answer(data: bytes, wanted: int, framings: list[Framing], max_bytes: int) -> bytes:
    try:
        if wanted == wire.SQUARE:
            square = read_square(data, **framings[0]._asdict(), max_bytes=max_bytes)
            return wire.pack_answer(square.width, square.height, [square.pixels.tobytes()])
        cuts, photo = cut_squares(data, framings, max_bytes=max_bytes)
        parts = wire.pack_cuts([cut.jpeg for cut in cuts], shrink_centre(photo).tobytes())
        return wire.pack_answer(cuts[0].width, cuts[0].height, parts)
    except ImageError as error:
        return wire.pack_refusal(error)


def _read(file: BinaryIO, length: int) -> bytes:
    """Read `length` bytes, or end the process with its input."""
    content = file.read(length)
    if len(content) < length:
        sys.exit()
    return content


if __name__ == "__main__":
    main()
