"""What the process that decodes is asked, and what it may answer.

An answer is of fixed form, and its size is checked before it is read: the process that decodes may
have been taken over by a photo, and must not take over the one that asked.
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from processing.framing import Framing
from processing.refusals import (
    AnimatedImageError,
    DamagedImageError,
    EmptyImageError,
    ImageError,
    StrangeImageError,
    TooManyPixelsError,
    TooMuchMemoryError,
    explain_unreadable,
)

READY = b"R"  # the first byte that the child writes
SQUARE, CUTS = 1, 2  # what is wanted: pixels for a model, or JPEGs to be stored
CENTRE_SIDE = 64  # pixels; see `processing.image.shrink_centre`
CENTRE_BYTES = 3 * CENTRE_SIDE * CENTRE_SIDE

_REQUEST = struct.Struct("<BBQ")  # wanted, number of framings, bytes of the file
_FRAMING = struct.Struct("<IdB")
_ANSWER = struct.Struct("<BIIIQ")  # status, limit in megapixels, width, height, bytes that follow
_LENGTH = struct.Struct("<I")
REQUEST_BYTES, FRAMING_BYTES, ANSWER_BYTES = _REQUEST.size, _FRAMING.size, _ANSWER.size

_OK, _UNREADABLE, _TOO_MANY_PIXELS = 0, 1, 2
_STATUSES: dict[int, Callable[[], ImageError]] = {
    3: TooMuchMemoryError,
    4: AnimatedImageError,
    5: DamagedImageError,
    6: StrangeImageError,
    7: EmptyImageError,
}
_MAX_PIXELS_SIDE = 1 << 31


class Request(NamedTuple):
    """What is wanted of a photo."""

    wanted: int  # SQUARE, with one framing, or CUTS
    framings: Sequence[Framing]


class Answer(NamedTuple):
    """The head of an answer."""

    status: int
    megapixels: int
    width: int
    height: int
    length: int  # of the bytes that follow


class RubbishError(Exception):
    """The child's answer is of no form that it may have."""


def pack_request(request: Request, length: int) -> bytes:
    """Pack a request for a photo of `length` bytes, which follow."""
    head = _REQUEST.pack(request.wanted, len(request.framings), length)
    return head + b"".join(_FRAMING.pack(*framing) for framing in request.framings)


def unpack_request(head: bytes) -> tuple[int, int, int]:
    """Return what is wanted, the number of framings and the number of bytes of the photo."""
    wanted, framings, length = _REQUEST.unpack(head)
    return wanted, framings, length


def unpack_framings(packed: bytes) -> list[Framing]:
    """Return the framings of a request."""
    return [Framing(*one) for one in _FRAMING.iter_unpack(packed)]


def pack_answer(width: int, height: int, parts: Sequence[bytes]) -> bytes:
    """Pack what was cut from a photo of that size, in pixels."""
    content = b"".join(parts)
    return _ANSWER.pack(_OK, 0, width, height, len(content)) + content


def pack_cuts(jpegs: Sequence[bytes], centre: bytes) -> list[bytes]:
    """Return the parts of an answer to CUTS."""
    return [centre, *(_LENGTH.pack(len(jpeg)) for jpeg in jpegs), *jpegs]


def pack_refusal(error: ImageError) -> bytes:
    """Pack why a photo cannot be used."""
    megapixels = 0
    status = next((k for k, kind in _STATUSES.items() if type(error) is kind), _UNREADABLE)
    if isinstance(error, TooManyPixelsError):
        status, megapixels = _TOO_MANY_PIXELS, int(str(error.values["megapixels"]))
    return _ANSWER.pack(status, megapixels, 0, 0, 0)


def unpack_answer(head: bytes, request: Request) -> Answer:
    """Unpack the head of an answer.

    Raises:
        RubbishError: no answer to `request` has such a head.
    """
    answer = Answer(*_ANSWER.unpack(head))
    if answer.status == _OK:
        # A JPEG of that quality is never larger than its pixels and its tables.
        most = sum(4 * size * size + 10_000 for size, _, _ in request.framings) + CENTRE_BYTES
        size = request.framings[0][0]
        fits = (
            answer.length == 3 * size * size
            if request.wanted == SQUARE
            else CENTRE_BYTES < answer.length <= most
        )
        if fits and 0 < answer.width < _MAX_PIXELS_SIDE and 0 < answer.height < _MAX_PIXELS_SIDE:
            return answer
    elif answer.length == 0 and answer.status <= max(_STATUSES) and answer.megapixels <= 1000:
        return answer
    raise RubbishError


def find_refusal(answer: Answer, data: bytes) -> ImageError | None:
    """Return why the photo `data` cannot be used, or None if it can."""
    if answer.status == _OK:
        return None
    if answer.status == _UNREADABLE:
        return explain_unreadable(data)
    if answer.status == _TOO_MANY_PIXELS:
        return TooManyPixelsError(answer.megapixels)
    return _STATUSES[answer.status]()


def unpack_cuts(content: bytes, number: int) -> tuple[list[bytes], bytes]:
    """Return the JPEGs of an answer to CUTS with `number` framings, and the pixels of the centre.

    Raises:
        RubbishError: the lengths do not fit.
    """
    start = CENTRE_BYTES + number * _LENGTH.size
    lengths = [length for (length,) in _LENGTH.iter_unpack(content[CENTRE_BYTES:start])]
    if len(lengths) != number or start + sum(lengths) != len(content):
        raise RubbishError
    jpegs = []
    for length in lengths:
        jpegs.append(content[start : start + length])
        start += length
    return jpegs, content[:CENTRE_BYTES]
