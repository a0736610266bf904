"""Decode the photo on standard input, and print what it took: `python -m tests.bombs.measure`.

Run for each photo anew, because a process tells only the peak of all processes that it ever had.
"""

import json
import resource
import sys
import threading
from pathlib import Path
from typing import Any

from processing.decoding.decoder import Decoder
from processing.refusals import ImageError
from tests.bombs.png import RGB, make_png

WANTED: dict[str, Any] = {"size": 224, "crop_fraction": 1.0, "pixel_path": 2}


def read_status(pid: int | str, name: str) -> int:
    """A process's memory in kB, as Linux has it under this name."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0])


def read_seconds(who: int) -> float:
    """The processor time of this process, or of its children that have ended."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Decode the photo, and at the same time another one."""
    data = sys.stdin.buffer.read()
    usual = make_png(RGB, 640, 480)
    other: list[int] = []
    with Decoder() as decoder:
        decoder.read_square(usual, **WANTED)
        pid = decoder._all[0]._process.pid
        rest, own = read_status(pid, "VmRSS"), read_status("self", "VmRSS")
        ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[11:13]
        before = sum(map(int, ticks)) / 100
        own_seconds = read_seconds(resource.RUSAGE_SELF)
        visitor = threading.Thread(
            target=lambda: other.append(decoder.read_square(usual, **WANTED).width)
        )
        visitor.start()
        error = None
        try:
            decoder.read_square(data, **WANTED)
        except ImageError as refusal:
            error = type(refusal).__name__
        visitor.join()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds = read_seconds(resource.RUSAGE_CHILDREN) - before
    seconds += read_seconds(resource.RUSAGE_SELF) - own_seconds
    found = {
        "error": error,
        "megabytes": (peak - rest + max(0, read_status("self", "VmHWM") - own)) / 1000,
        "seconds": seconds,
        "other": other == [640],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
