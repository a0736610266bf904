"""Builds that are killed, run out of disk, or do not write to a disk."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from etils import epath

from tests.training.archives import (
    SETTINGS,
    build_isic2019,
    hash_files,
    list_isic2019,
    write_isic2019,
)
from tests.training.disks import enlarge
from training.build.build import build_folders
from training.data.batches import decode_records, read_records
from training.data.folder import read_data
from training.errors import TrainingError
from training.files import LOCK, holding

ROOT = Path(__file__).parents[3]
KILLS = 10


@pytest.fixture(scope="module")
def large_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with enough images for a second or two of work."""
    return write_isic2019(tmp_path_factory.mktemp("large") / "archive", 80, 640)


def start_build(archive: Path, out: Path) -> "subprocess.Popen[bytes]":
    sizes = ["--size", "64", "--crop", "0.8", "--preset", "224"]
    command = ["build", "--isic2019", str(archive), *sizes, "--shards", "4", "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "training", *command],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_a_build_killed_ten_times_ends_with_the_same_bytes(
    large_archive: Path, tmp_path: Path
) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed"
    assert start_build(large_archive, undisturbed).wait(120) == 0
    expected = hash_files(undisturbed)
    rng = random.Random(0)
    for kill in range(KILLS):
        process = start_build(large_archive, out)
        while process.poll() is None and not out.exists():  # importing is no time to be killed in
            time.sleep(0.01)
        try:
            process.wait(rng.uniform(0, 1.5))
            shutil.rmtree(out)  # it was done before the kill came: begin again
        except subprocess.TimeoutExpired:
            # Now the whole family, now the parent alone, whose workers then run on for a while.
            (os.killpg if kill % 2 else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            shards = {name: sha for name, sha in hash_files(out).items() if is_shard(name)}
            assert shards.items() <= expected.items()
    assert start_build(large_archive, out).wait(120) == 0
    assert hash_files(out) == expected


def is_shard(name: str) -> bool:
    return Path(name).match("train*.tfrec")


def test_a_full_disk_is_named_and_the_build_resumes_once_there_is_room(
    archive: Path, data: epath.Path, small_disk: Path
) -> None:
    """At 64 kB the pieces do not fit, at 240 the shards do not, at 364 the tables do not."""
    out = small_disk / "out"
    for kilobytes in (64, 240, 364):
        enlarge(small_disk, kilobytes)
        with pytest.raises(TrainingError, match=r"the disk is full\. Free some space"):
            build_isic2019(archive, out)
        assert not list(out.rglob(".partial-*"))
        with pytest.raises(TrainingError, match="unfinished"):
            read_data(epath.Path(out))
    enlarge(small_disk, 2000)
    build_isic2019(archive, out)
    assert hash_files(out) == hash_files(data)


def test_a_full_disk_is_named_from_worker_processes_too(archive: Path, small_disk: Path) -> None:
    with pytest.raises(TrainingError, match="the disk is full"):
        build_folders(
            list_isic2019(archive), [], [SETTINGS], epath.Path(small_disk / "out"), processes=2
        )


def test_a_second_build_in_one_folder_is_told_at_once(archive: Path, tmp_path: Path) -> None:
    out = epath.Path(tmp_path / "out")
    with holding(out), pytest.raises(TrainingError, match=f"{out}: another build is at work there"):
        build_isic2019(archive, tmp_path / "out")
    assert not list(out.iterdir())
    build_isic2019(archive, tmp_path / "out")
    with holding(out):  # a finished folder is only looked at
        build_isic2019(archive, tmp_path / "out")
    assert not (out / LOCK).exists()


def test_a_build_that_waited_for_none_takes_what_another_finished(
    archive: Path, data: epath.Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one ends after this one looked, and before it has the lock."""

    @contextmanager
    def hold_late(folder: epath.Path) -> Iterator[None]:
        shutil.copytree(data, folder)
        with holding(folder):
            yield

    monkeypatch.setattr("training.build.build.holding", hold_late)
    monkeypatch.setattr("training.build.build._cut_pieces", None)
    assert build_isic2019(archive, tmp_path / "out") == read_data(data).build


def test_a_build_works_wherever_tensorflow_reads_and_writes(
    archive: Path, data: epath.Path, ram: epath.Path
) -> None:
    out = ram / "data64"
    build_folders(list_isic2019(archive), [], [SETTINGS], out)
    built = read_data(out)
    assert built.build == read_data(data).build
    names = [
        name
        for batch in decode_records(read_records(built.shards()), SETTINGS.size, 32)
        for name in batch["image_name"].numpy().astype(str)
    ]
    assert sorted(names) == built.cases["image_name"].tolist()
    assert {path.name for path in out.iterdir()} == {path.name for path in data.iterdir()}
    with pytest.raises(TrainingError, match="not a data folder"):
        read_data(ram / "elsewhere")
