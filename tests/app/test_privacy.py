"""No part of an upload is kept: on the disk, in the log, or at Sentry."""

import io
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from processing.bundle import Bundle
from processing.drawing import draw_photo
from tests.app.fixture_types import StartServer

UPLOADS = 50
ROOT = Path(__file__).parents[2]


def mark_photo(mark: str, seed: int) -> bytes:
    """A JPEG with the mark behind its end, in its comment, its EXIF and its place."""
    exif = Image.Exif()
    exif[Base.Artist] = mark
    exif.get_ifd(IFD.GPSInfo)[GPS.GPSMapDatum] = mark
    file = io.BytesIO()
    picture = Image.fromarray(draw_photo(seed, 240, irregular=True))
    picture.save(file, "JPEG", exif=exif, comment=mark.encode(), quality=95)
    assert file.getvalue().count(mark.encode()) == 3
    return file.getvalue() + mark.encode()


def pack(mark: str, photo: bytes) -> tuple[str, bytes]:
    edge = uuid4().hex
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{mark}.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return edge, head.encode() + photo + f"\r\n--{edge}--\r\n".encode()


def find_written_since(start: float, folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                if path.is_file() and path.stat().st_mtime >= start - 1:
                    yield path
            except OSError:  # gone in between
                continue


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_nothing_of_fifty_uploads_is_left_anywhere(
    start_server: StartServer,
    sink: tuple[str, list[bytes]],
    served: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
    accept: str,
) -> None:
    mark = f"SENTINEL{uuid4().hex}"
    dsn, received = sink
    url = start_server(MODEL_URI=str(served.path), SENTRY_DSN=dsn, LOG_LEVEL="DEBUG")
    start = time.time()
    outcomes = set()
    for i in range(UPLOADS):
        photo = mark_photo(mark, i)
        if i % 5 == 4:
            photo = photo[: len(photo) // 3]  # damaged: refused, with an answer that is logged
        edge, body = pack(mark, photo)
        request = urllib.request.Request(
            f"{url}/predict?lang={mark}",
            data=body,
            headers={
                "Content-Type": f"multipart/form-data; boundary={edge}",
                "Accept": accept,
                "User-Agent": mark,
                "X-Request-ID": f"forged {mark}",
            },
        )
        try:
            with urllib.request.urlopen(request) as answer:
                content = answer.read()
                outcomes.add(answer.status)
        except urllib.error.HTTPError as error:
            content = error.read()
            outcomes.add(error.code)
        # The sender's own answer contains the file's name, and nothing else of the request.
        assert content.replace(f"{mark}.jpg".encode(), b"").count(mark.encode()) == 0
    assert outcomes == {200, 400}
    places = [tmp_path_factory.getbasetemp(), Path("/tmp"), Path("/var/tmp"), ROOT / "app"]
    looked_at = 0
    for path in find_written_since(start, places):
        looked_at += 1
        assert mark not in path.name
        assert mark.encode() not in path.read_bytes(), path
    assert looked_at > 0  # the server's log, at least
    assert mark.encode() not in b"".join(received)
