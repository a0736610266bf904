"""Run where requirements-beam.txt is installed, on top of requirements-dev.txt."""

import importlib.util
import logging
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from etils import epath

from tests.training.archives import SETTINGS, hash_files, list_isic2019
from training.build.beam import run_on_beam
from training.build.build import build_folders
from training.errors import TrainingError

HERE = ()
SUBPROCESSES = ("direct_running_mode=multi_processing", "direct_num_workers=2")
FAULT = "cases.csv, line 3: age is 'abc'. Write a number."
with_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="Apache Beam is not installed"
)


class Touch(NamedTuple):
    """A file to make."""

    output: str
    images: int


def touch(item: Touch) -> int:
    Path(item.output).touch()
    return item.images


def refuse(item: Touch) -> int:
    raise TrainingError(FAULT)


@with_beam
@pytest.mark.parametrize("options", [HERE, SUBPROCESSES])
def test_every_item_is_processed_and_no_runner_is_downloaded(
    options: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "apache_beam.runners")
    items = [Touch(str(tmp_path / f"{k}"), k) for k in range(5)]
    reported: list[int] = []
    run_on_beam(touch, items, reported.append, runner="DirectRunner", options=options)
    assert {str(path) for path in tmp_path.iterdir()} == {item.output for item in items}
    assert sorted(reported) == [0, 1, 2, 3, 4]
    assert not [text for text in caplog.messages if "prism" in text.lower()]


@with_beam
@pytest.mark.parametrize("options", [HERE, SUBPROCESSES])
def test_a_workers_error_message_arrives_unchanged(options: tuple[str, ...]) -> None:
    with pytest.raises(TrainingError) as raised:
        run_on_beam(
            refuse, [Touch("a", 1), Touch("b", 1)], print, runner="DirectRunner", options=options
        )
    assert str(raised.value) == FAULT


@with_beam
@pytest.mark.parametrize(
    ("runner", "reason"),
    [("SlowRunner", "Valid values are"), ("DataflowRunner", "option: project")],
)
def test_what_beam_rejects_is_explained(runner: str, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        run_on_beam(touch, [], print, runner=runner, options=())


@with_beam
def test_an_empty_list_of_items_is_fine() -> None:
    run_on_beam(touch, [], print, runner="DirectRunner", options=HERE)


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="it is installed")
def test_without_beam_the_file_to_install_is_named() -> None:
    with pytest.raises(TrainingError, match="requirements-beam.txt"):
        run_on_beam(touch, [], print, runner="DirectRunner", options=())


@with_beam
@pytest.mark.parametrize("options", [HERE, SUBPROCESSES])
def test_a_build_on_beam_has_the_same_bytes_as_one_without(
    options: tuple[str, ...], archive: Path, data: epath.Path, tmp_path: Path
) -> None:
    out = epath.Path(tmp_path / "out")
    beam = partial(run_on_beam, runner="DirectRunner", options=options)
    build_folders(list_isic2019(archive), [], [SETTINGS], out, beam=beam)
    assert hash_files(out) == hash_files(data)
