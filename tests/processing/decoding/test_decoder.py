import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import psutil
import pytest

from processing.decoding import wire
from processing.decoding.decoder import (
    SERVING,
    Decoder,
    DecoderBusyError,
    DecoderDownError,
)
from processing.framing import Framing, Square
from processing.image import cut_squares, read_square, shrink_centre
from processing.refusals import (
    AnimatedImageError,
    BrokenImageError,
    DamagedImageError,
    EmptyImageError,
    ImageError,
    TooManyPixelsError,
    UndecodableImageError,
    UnsupportedImageError,
)
from tests.processing.photos import KINDS, encode, encode_vast_png, make_picture

ROOT = Path(__file__).parents[3]


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        decoder.start()
        yield decoder


def child_of(decoder: Decoder) -> psutil.Process:
    (child,) = decoder._all
    return psutil.Process(child._process.pid)


def read(decoder: Decoder, data: bytes) -> Square:
    return decoder.read_square(data, size=40, crop_fraction=0.8, pixel_path=2)


def test_the_child_cuts_what_is_cut_without_it(decoder: Decoder) -> None:
    for kind in KINDS:
        data = encode(make_picture(301, 207), kind)
        here = read_square(data, size=40, crop_fraction=0.8, pixel_path=2)
        there = read(decoder, data)
        assert np.array_equal(here.pixels, there.pixels)
        assert here[1:] == there[1:]


def test_the_child_cuts_what_a_build_stores(decoder: Decoder) -> None:
    data = encode(make_picture(301, 207), "JPEG")
    framings = [Framing(40, 0.8, 2), Framing(64, 0.6, 1)]
    cuts, photo = cut_squares(data, framings)
    found = decoder.cut_squares(data, framings)
    assert found.jpegs == [cut.jpeg for cut in cuts]
    assert (found.width, found.height) == (301, 207)
    assert np.array_equal(found.centre, np.asarray(shrink_centre(photo)))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyImageError),
        (b"no photo", UnsupportedImageError),
        (b"GIF89a" + bytes(50), UnsupportedImageError),
        (encode(make_picture(), "PNG")[:24], BrokenImageError),
        (encode(make_picture(), "JPEG")[:-300], DamagedImageError),
        (encode_vast_png(10_000), TooManyPixelsError),
        (
            encode(make_picture(), "PNG", save_all=True, append_images=[make_picture(mode="1")]),
            AnimatedImageError,
        ),
    ],
)
def test_a_refusal_is_the_same_as_without_the_child(
    decoder: Decoder, data: bytes, error: type[ImageError]
) -> None:
    with pytest.raises(error) as here:
        read_square(data, size=40, crop_fraction=0.8, pixel_path=2)
    with pytest.raises(error) as there:
        read(decoder, data)
    assert str(here.value) == str(there.value)
    read(decoder, encode(make_picture(), "PNG"))


def test_a_photo_whose_child_ends_is_refused_and_the_next_is_read(decoder: Decoder) -> None:
    read(decoder, encode(make_picture(), "PNG"))  # it is ready
    child = child_of(decoder)
    child.suspend()
    timer = threading.Timer(0.3, child.kill)
    timer.start()
    with pytest.raises(UndecodableImageError, match="save it as a JPEG"):
        read(decoder, encode(make_picture(), "PNG"))
    timer.join()
    assert child_of(decoder) != child
    assert read(decoder, encode(make_picture(), "PNG")).width == 60


def test_a_child_that_ended_while_it_was_idle_is_no_photos_fault(decoder: Decoder) -> None:
    read(decoder, encode(make_picture(), "PNG"))
    child_of(decoder).kill()
    child_of(decoder).wait()
    assert read(decoder, encode(make_picture(), "PNG")).width == 60


def test_a_system_without_another_thread_gets_no_process_that_nobody_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Decoder() as decoder:
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", Mock(side_effect=RuntimeError("no thread")))
            with pytest.raises(DecoderDownError):
                read(decoder, encode(make_picture(), "PNG"))
        assert read(decoder, encode(make_picture(), "PNG")).width == 60


def test_a_child_that_hangs_is_ended_by_the_clock() -> None:
    with Decoder(SERVING._replace(wall_seconds=0.5)) as decoder:
        read(decoder, encode(make_picture(), "PNG"))
        child_of(decoder).suspend()
        with pytest.raises(UndecodableImageError):
            read(decoder, encode(make_picture(), "PNG"))
        assert read(decoder, encode(make_picture(), "PNG")).width == 60


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no clock of a process's own time")
def test_a_child_that_computes_for_too_long_ends() -> None:
    with Decoder(SERVING._replace(cpu_seconds=0.05)) as decoder:
        with pytest.raises(UndecodableImageError):
            read(decoder, encode_vast_png(7000))
        assert read(decoder, encode(make_picture(), "PNG")).width == 60


def test_photos_wait_in_order_until_their_deadline(decoder: Decoder) -> None:
    data = encode(make_picture(), "PNG")
    order = []

    def ask(number: int) -> None:
        read(decoder, data)
        order.append(number)

    with decoder._turn(time.monotonic() + 1):
        with pytest.raises(DecoderBusyError):
            decoder.read_square(
                data, size=40, crop_fraction=1.0, pixel_path=2, deadline=time.monotonic() + 0.05
            )
        threads = []
        for number in range(5):
            threads.append(threading.Thread(target=ask, args=(number,)))
            threads[-1].start()
            while len(decoder._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_two_children_decode_at_once() -> None:
    with Decoder(children=2) as decoder, decoder._turn(np.inf):
        assert read(decoder, encode(make_picture(), "PNG")).width == 60


def test_signals_meant_for_the_app_do_not_end_the_child(decoder: Decoder) -> None:
    read(decoder, encode(make_picture(), "PNG"))
    child = child_of(decoder)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            child.send_signal(getattr(signal, name))
    assert read(decoder, encode(make_picture(), "PNG")).width == 60
    assert child_of(decoder) == child


def test_the_child_ends_with_the_process_that_started_it() -> None:
    code = (
        "from processing.decoding.decoder import Decoder\n"
        "import time\n"
        "decoder = Decoder()\n"
        "decoder.start()\n"
        "print(decoder._all[0]._process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as app:
        assert app.stdout
        child = psutil.Process(int(app.stdout.readline()))
        app.kill()
    child.wait(10)


def test_the_child_knows_no_secrets_and_opens_no_files(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Decoder() as other:
        read(other, encode(make_picture(), "PNG"))
        assert "AWS_SECRET_ACCESS_KEY" not in child_of(other).environ()
        if not sys.platform.startswith("linux"):
            pytest.skip("only Linux tells another process's limits")
        child = child_of(other)
        for limit in (psutil.RLIMIT_NOFILE, psutil.RLIMIT_FSIZE, psutil.RLIMIT_CORE):
            assert child.rlimit(limit) == (0, 0)


def test_a_child_that_cannot_start_is_the_apps_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", os.devnull)
    with pytest.raises(DecoderDownError):
        Decoder().start()


REQUEST = wire.Request(wire.SQUARE, [Framing(40, 0.8, 2)])
ANSWER = wire._ANSWER


@pytest.mark.parametrize(
    "head",
    [
        ANSWER.pack(0, 0, 60, 40, 40 * 40 * 3 + 1),  # too long
        ANSWER.pack(0, 0, 60, 40, 1 << 40),
        ANSWER.pack(0, 0, 0, 40, 40 * 40 * 3),  # no width
        ANSWER.pack(9, 0, 0, 0, 0),  # no such refusal
        ANSWER.pack(5, 0, 0, 0, 5),  # a refusal with more to read
    ],
)
def test_an_answer_of_another_form_is_not_read(head: bytes) -> None:
    with pytest.raises(wire.RubbishError):
        wire.unpack_answer(head, REQUEST)


def test_cuts_whose_lengths_do_not_fit_are_not_read() -> None:
    content = b"".join(wire.pack_cuts([b"one", b"two"], bytes(wire.CENTRE_BYTES)))
    assert wire.unpack_cuts(content, 2) == ([b"one", b"two"], bytes(wire.CENTRE_BYTES))
    for wrong in (content + b"!", content[:-1]):
        with pytest.raises(wire.RubbishError):
            wire.unpack_cuts(wrong, 2)
