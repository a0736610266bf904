"""Have photos decoded in other processes, and replace those that fail."""

import atexit
import functools
import logging
import math
import subprocess  # nosec B404
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from processing.decoding import wire
from processing.environment import select_environment
from processing.framing import Framing, Square
from processing.headers import check_structure
from processing.refusals import UndecodableImageError

_ROOT = Path(__file__).parents[2]
_SET = {
    # Each heap and each thread of another library would take address space.
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# To return a photo's memory at once costs a millisecond.
_RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(4 << 20)}
_PIPE_BYTES = 1 << 20
_START_SECONDS = 30

logger = logging.getLogger(__name__)


class Limits(NamedTuple):
    """What one photo may take."""

    max_bytes: int  # of memory in both processes, above rest
    cpu_seconds: float
    wall_seconds: float  # in case that it waits for something
    return_memory: bool = True  # at once; else the next photo is decoded a little faster


# One photo must not take a 512-MB dyno nor two seconds of anyone else's time. A 24-megapixel HEIC
# takes 0.8 s, a JPEG of 12 megapixels 0.03 s.
SERVING = Limits(max_bytes=150_000_000, cpu_seconds=1.6, wall_seconds=20)


class Cuts(NamedTuple):
    """The cuts as TFRecords store them, and what else is known of the photo."""

    jpegs: list[bytes]
    width: int  # of the upright photo, pixels
    height: int
    centre: NDArray[np.uint8]  # (64, 64, 3), see `processing.image.shrink_centre`


class DecoderBusyError(Exception):
    """Other photos kept all processes busy until the deadline."""


class DecoderDownError(Exception):
    """No process that decodes can be started."""


class Decoder:
    """Decodes photos, each under `limits`, in up to `children` processes at a time.

    Threads may share it; they are served in the order in which they came.
    """

    def __init__(self, limits: Limits = SERVING, *, children: int = 1) -> None:
        self._limits, self._most = limits, children
        self._lock = threading.Lock()
        self._all: list[_Child] = []
        self._idle: list[_Child] = []
        self._waiting: deque[SimpleQueue[_Child]] = deque()
        self._turns: dict[_Child, float] = {}  # those in progress, and when they began
        self._closed = threading.Event()

    def start(self) -> None:
        """Start a process now, so that the first photo finds it ready."""
        self._give_back(self._take(math.inf))

    def close(self) -> None:
        """End the processes."""
        self._closed.set()
        for child in self._all:
            child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_square(
        self,
        data: bytes,
        *,
        size: int,
        crop_fraction: float,
        pixel_path: int,
        deadline: float = math.inf,
    ) -> Square:
        """Cut a photo as `processing.image.read_square` does.

        Args:
            deadline: monotonic seconds, until which to wait for other photos.

        Raises:
            ImageError: the photo cannot be read, or not within the limits.
            DecoderBusyError, DecoderDownError: it is not the photo's fault.
        """
        request = wire.Request(wire.SQUARE, [Framing(size, crop_fraction, pixel_path)])
        answer, content = self._ask(request, data, deadline)
        pixels = np.frombuffer(content, np.uint8).reshape(size, size, 3)
        return Square(pixels, answer.width, answer.height)

    def cut_squares(self, data: bytes, framings: Sequence[Framing]) -> Cuts:
        """Cut a photo as `processing.image.cut_squares` does.

        Raises:
            ImageError, DecoderDownError: as `read_square`.
        """
        request = wire.Request(wire.CUTS, framings)
        answer, content = self._ask(request, data, math.inf)
        try:
            jpegs, centre = wire.unpack_cuts(content, len(framings))
        except wire.RubbishError as error:
            raise UndecodableImageError from error
        pixels = np.frombuffer(centre, np.uint8).reshape(wire.CENTRE_SIDE, wire.CENTRE_SIDE, 3)
        return Cuts(jpegs, answer.width, answer.height, pixels)

    def _ask(
        self, request: wire.Request, data: bytes, deadline: float
    ) -> tuple[wire.Answer, bytes]:
        check_structure(data)
        with self._turn(deadline) as child:
            answer, content = child.ask(request, data)
        if refusal := wire.find_refusal(answer, data):
            raise refusal
        return answer, content

    @contextmanager
    def _turn(self, deadline: float) -> Iterator["_Child"]:
        child = self._take(deadline)
        self._turns[child] = time.monotonic()
        try:
            yield child
        finally:
            del self._turns[child]
            self._give_back(child)

    def _watch(self) -> None:
        # One thread for all photos: to start one for each took 0.2 ms.
        while not self._closed.wait(min(1.0, self._limits.wall_seconds / 4)):
            for child in list(self._all):
                child.end_if_late()

    def measure_longest_turn(self) -> float:
        """Return for how many seconds the photo in work for longest has been so; 0 without one."""
        now = time.monotonic()
        return max((now - began for began in [*self._turns.values()]), default=0.0)

    def _take(self, deadline: float) -> "_Child":
        """Take a process that is free, or else wait in the queue."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if len(self._all) < self._most:
                try:
                    if not self._all:
                        threading.Thread(
                            target=self._watch, name="photo-clock", daemon=True
                        ).start()
                    self._all.append(_Child(self._limits))
                except (OSError, RuntimeError) as error:  # no further process, no further thread
                    raise DecoderDownError("No process can be started") from error
                return self._all[-1]
            place: SimpleQueue[_Child] = SimpleQueue()
            self._waiting.append(place)
        seconds = min(max(0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
        try:
            return place.get(timeout=seconds)
        except Empty:
            with self._lock:
                if place in self._waiting:
                    self._waiting.remove(place)
                    raise DecoderBusyError from None
            return place.get()  # it was given in this moment

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().put(child)
            else:
                self._idle.append(child)


@functools.cache
def share_decoder(children: int, limits: Limits = SERVING) -> Decoder:
    """Return the decoder of this process, which its threads share until it ends."""
    decoder = Decoder(limits, children=children)
    atexit.register(decoder.close)
    return decoder


class _Child:
    """A process that decodes, and its successors. One thread at a time may use it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ending = threading.Lock()
        self._began: float | None = None  # when the present photo was sent, monotonic
        self._start()

    def _start(self) -> None:
        self._ready = False
        limits = str(self._limits.max_bytes), str(self._limits.cpu_seconds)
        self._process = subprocess.Popen(  # nosec B603
            [sys.executable, "-m", "processing.decoding.child", *limits],
            cwd=_ROOT,
            env=select_environment()
            | _SET
            | (_RETURN_MEMORY if self._limits.return_memory else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries may write what is in a photo
        )
        assert self._process.stdin
        assert self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        _widen(self._input, self._output)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        with suppress(OSError):  # what was not written yet
            self._input.close()

    def _replace(self) -> None:
        self.end()
        with suppress(OSError):  # tried again for the next photo
            self._start()

    def ask(self, request: wire.Request, data: bytes) -> tuple[wire.Answer, bytes]:
        """Have a photo decoded.

        Raises:
            UndecodableImageError: it made the process reach a limit, end or answer rubbish.
            DecoderDownError: no process can be started.
        """
        self._get_ready()
        try:
            with self._timed():
                self._input.write(wire.pack_request(request, len(data)))
                self._input.write(data)
                self._input.flush()
                answer = wire.unpack_answer(self._read(wire.ANSWER_BYTES), request)
                return answer, self._read(answer.length)
        except (OSError, EOFError, wire.RubbishError) as error:
            logger.warning("A photo was refused, and the process that decodes was replaced")
            self._replace()
            raise UndecodableImageError from error

    def _get_ready(self) -> None:
        """Wait until the process has started; start another if it ended while it was idle."""
        for _ in range(2):
            if self._process.poll() is not None:
                self._replace()
            if not self._ready:
                clock = threading.Timer(_START_SECONDS, self._process.kill)
                clock.start()
                with suppress(OSError, EOFError):
                    self._ready = self._read(len(wire.READY)) == wire.READY
                clock.cancel()
                clock.join()  # or it might end the process later
            if self._ready:
                return
            self._process.kill()
            self._process.wait()
        raise DecoderDownError(
            "The process that decodes photos does not start. This shows why: "
            "python -m processing.decoding.child 100000000 1"
        )

    @contextmanager
    def _timed(self) -> Iterator[None]:
        self._began = time.monotonic()
        try:
            yield
        finally:
            with self._ending:  # or the process might be ended after the photo
                self._began = None

    def end_if_late(self) -> None:
        """End the process if its photo takes too long; what waits for it then gets an error."""
        with self._ending:
            if self._began and time.monotonic() - self._began > self._limits.wall_seconds:
                self._process.kill()

    def _read(self, length: int) -> bytes:
        content: bytes = self._output.read(length)
        if len(content) < length:
            raise EOFError
        return content


def _widen(*pipes: IO[bytes]) -> None:
    """Let the pipes hold more, where the system can: a photo takes fewer turns."""
    with suppress(ImportError, OSError):
        from fcntl import F_SETPIPE_SZ, fcntl

        for pipe in pipes:
            fcntl(pipe, F_SETPIPE_SZ, _PIPE_BYTES)
