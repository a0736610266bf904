"""Measure the command line on all cores beside one: `python -m benchmarks.classify [PHOTO…]`.

The whole command is timed, with its start, in turn with one job and with one for each core, and the
median of the pairs is compared. Their tables have to be the same. Without PHOTO, lesions are drawn.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from app.batch import count_cores
from benchmarks.photos import describe_machine, draw_photos

PHOTOS, SIDE = 200, 512
PAIRS = 5


def time_command(photos: list[str], jobs: int) -> tuple[float, str]:
    """Return the seconds that the command takes, and its table."""
    command = [sys.executable, "-m", "app", "classify", *photos, "--jobs", str(jobs)]
    started = time.perf_counter()
    table = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    ).stdout
    return time.perf_counter() - started, table


def main() -> None:
    """Measure and print."""
    print(describe_machine("ai-edge-litert", "pillow"))
    cores = count_cores()
    with tempfile.TemporaryDirectory() as folder:
        photos = sys.argv[1:] or [str(path) for path in draw_photos(Path(folder), PHOTOS, SIDE)]
        pairs = []
        for _ in tqdm(range(PAIRS), leave=False):
            (one, table), (all_, same) = (time_command(photos, jobs) for jobs in (1, cores))
            assert table == same, "the tables differ"
            pairs.append((one, all_))
    one, all_ = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    ratio = statistics.median(first / second for first, second in pairs)
    print(
        f"{len(photos)} photos: one job {one:.1f} s, {cores} jobs {all_:.1f} s, ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
