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

import click
from tqdm import tqdm

from app.batch import count_cores
from benchmarks.photos import draw_photos
from benchmarks.tool import Report, benchmark

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


@benchmark(libraries=("ai-edge-litert", "pillow"))
@click.argument("paths", nargs=-1, metavar="[PHOTO]...")
def main(report: Report, paths: tuple[str, ...]) -> None:
    """Measure and print."""
    cores = count_cores()
    with tempfile.TemporaryDirectory() as folder:
        photos = [*paths] or [str(path) for path in draw_photos(Path(folder), PHOTOS, SIDE)]
        pairs = []
        for _ in tqdm(range(PAIRS), leave=False):
            (one, table), (all_, same) = (time_command(photos, jobs) for jobs in (1, cores))
            assert table == same, "the tables differ"
            pairs.append((one, all_))
    report.begin(f"{len(photos)} photos; medians of {PAIRS} pairs")
    report.add("one job", statistics.median(one for one, _ in pairs), "s")
    report.add(f"{cores} jobs", statistics.median(all_ for _, all_ in pairs), "s")
    report.add("ratio", statistics.median(one / all_ for one, all_ in pairs), "", "goal: 1.8")


if __name__ == "__main__":
    main()
