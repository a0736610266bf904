"""What choosing among many images costs: `python -m benchmarks.selecting`.

`duplicates` compares finding the near-identical ones of 58,000 random hashes (ISIC 2019 and 2020)
with two other ways that find the same: counting all differing bits of each pair, and multiplying
matrices of 1 and -1. `tables` reads, drops, groups and divides made-up images, 50,000 and four
times as many: neither time nor memory for an image should grow.
"""

import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from etils import epath
from numpy.typing import NDArray

from benchmarks.tool import Report, benchmark
from training.build.rules import drop_by_content, drop_by_metadata
from training.build.sources import read_sources
from training.data.fingerprints import MAX_DISTANCE, find_pairs
from training.data.folds import assign_shards
from training.data.vocabulary import TARGETS

HASHES, PLANTED = 58_000, 300
ROWS = 50_000, 200_000
ROUNDS = 3
BLOCK = 64  # hashes compared at once in the other ways


def draw_hashes() -> list[str]:
    """Draw hashes, `PLANTED` of which differ from another one in up to 45 bits."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (HASHES, 256), np.uint8)
    for one, other in rng.permutation(HASHES)[: 2 * PLANTED].reshape(-1, 2):
        bits[other] = bits[one]
        bits[other, rng.permutation(256)[: rng.integers(46)]] ^= 1
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]


def count_all_bits(hashes: list[str]) -> Iterator[tuple[int, int, int]]:
    """Find the pairs by counting the differing bits of every pair, word by word."""
    words = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, 4)
    for start in range(0, len(words), BLOCK):
        block = words[start : start + BLOCK]
        distances = np.zeros((len(block), len(words) - start), np.uint16)
        for word in range(4):
            distances += np.bitwise_count(block[:, word, None] ^ words[None, start:, word])
        yield from _list_near(distances, start)


def multiply(hashes: list[str]) -> Iterator[tuple[int, int, int]]:
    """Find the pairs by the scalar products of vectors of 1 and -1, with all cores."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, 32)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    for start in range(0, len(signs), BLOCK):
        yield from _list_near((256 - signs[start : start + BLOCK] @ signs[start:].T) / 2, start)


def _list_near(distances: NDArray[Any], start: int) -> Iterator[tuple[int, int, int]]:
    for i, j in zip(*np.nonzero(distances <= MAX_DISTANCE), strict=True):
        if i < j:
            yield int(start + i), int(start + j), int(distances[i, j])


def measure_duplicates(report: Report) -> None:
    """Compare the ways over the same hashes, in turn."""
    ways: dict[str, Callable[..., Iterator[tuple[int, int, int]]]] = {
        "find_pairs": find_pairs, "all bits of each pair": count_all_bits,
        "product of matrices": multiply,
    }  # fmt: skip
    hashes = draw_hashes()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        found = []
        for name, way in ways.items():
            started = time.perf_counter()
            found.append([tuple(pair) for pair in way(hashes)])
            seconds[name].append(time.perf_counter() - started)
        assert found[0] == found[1] == found[2], "the ways find different pairs"
    report.begin(f"{HASHES:,} hashes, {len(found[0])} near pairs; medians of {ROUNDS} rounds")
    for name, each in seconds.items():
        goal = "goal: below 4" if name == "find_pairs" else ""
        report.add(name, statistics.median(each), "s", goal)
    ours = seconds.pop("find_pairs")
    for name, each in seconds.items():
        ratios = [other / one for other, one in zip(each, ours, strict=True)]
        report.add(f"{name} / find_pairs", statistics.median(ratios), "", "goal: above 3")


def list_made_up(rows: int, path: Path) -> None:
    """Write a CSV list of images that do not exist, of a quarter as many patients."""
    rng = np.random.default_rng(0)
    names = pd.Series(range(rows)).map("i{:08d}".format)
    table = {
        "image": names,
        "target": (rng.random(rows) < 0.05).astype(int),
        "patient_id": rng.integers(0, rows // 4, rows),
        "sex": rng.choice(["male", "female", ""], rows),
        "age_approx": 5 * rng.integers(1, 18, rows),
        "anatom_site": rng.choice(["torso", "head/neck", ""], rows),
        "modality": rng.choice(["dermoscopic", "close-up"], rows),
        "skin_tone": rng.integers(0, 6, rows),
    }
    pd.DataFrame(table).to_csv(path, index=False)


def select(path: Path) -> Iterator[str]:
    """Go through a build's steps before and after the pixels, and name each when it is done."""
    listing = read_sources(TARGETS["melanoma"], csv=[epath.Path(path)], with_images=False)
    yield "reading"
    cases = listing.cases
    pairs = list(zip(cases["image_name"][::100], cases["image_name"][1::100], strict=True))
    cases = cases.drop(index=drop_by_metadata(cases, pairs, 3, seed=0).index)
    yield "rules on metadata"
    # Every 25th file is a copy of the one before; pictures are measured above.
    numbers = np.arange(len(cases))
    copies = np.where(numbers % 25 == 1, numbers - 1, numbers).astype(str)
    cases = cases.assign(fault="", sha256=copies, phash="", width=1, height=1)
    dropped, group = drop_by_content(cases)
    cases = cases.assign(group=group).drop(index=dropped.index)
    yield "rules on pictures, without comparing them"
    assign_shards(cases, shards=15, seed=0)
    yield "shards"


def measure_steps(path: Path) -> tuple[dict[str, float], float]:
    """Measure the processor seconds of each step, and the memory that this process took, in MB."""
    before = measure_peak()
    seconds, last = {}, time.process_time()
    for step in select(path):
        now = time.process_time()
        seconds[step], last = now - last, now
    return seconds, measure_peak() - before


def measure_peak() -> float:
    """Measure the most memory that this process has had, in MB."""
    with suppress(OSError):  # Linux, where getrusage also counts what the process's parent had
        (line,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return int(line) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e3
    )


def measure_tables(report: Report) -> None:
    """Compare a table with one that is four times as long, each in a process of its own."""
    found = []
    with TemporaryDirectory() as folder:
        for rows in ROWS:
            path = Path(folder) / f"{rows}.csv"
            list_made_up(rows, path)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found.append(pool.submit(measure_steps, path).result())
    (few_seconds, few_mb), (many_seconds, many_mb) = found
    few, many = ROWS
    report.begin(f"{many:,} images, and the ratio to {few:,} for each image")
    for step, seconds in many_seconds.items():
        report.add(step, seconds, "s of one core")
        report.add("  ratio", seconds / few_seconds[step] * few / many, "", "goal: about 1")
    report.add("memory", many_mb, "MB")
    report.add("  ratio", many_mb / few_mb * few / many, "", "goal: about 1")


@benchmark("duplicates", "tables", libraries=("numpy", "pandas", "scikit-learn"))
def main(report: Report, parts: list[str]) -> None:
    """Measure and print."""
    if "duplicates" in parts:
        measure_duplicates(report)
    if "tables" in parts:
        measure_tables(report)


if __name__ == "__main__":
    main()
