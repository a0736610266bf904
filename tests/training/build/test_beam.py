"""Run where requirements-beam.txt is installed, on top of requirements-dev.txt."""

from functools import partial
from pathlib import Path

import pytest
from etils import epath

from processing.beam import run_on_beam
from tests.beam import HERE, SUBPROCESSES, with_beam
from tests.training.archives import SETTINGS, hash_files, list_isic2019
from training.build.build import build_folders
from training.errors import TrainingError


@with_beam
@pytest.mark.parametrize("options", [HERE, SUBPROCESSES])
def test_a_build_on_beam_has_the_same_bytes_as_one_without(
    options: tuple[str, ...], archive: Path, data: epath.Path, tmp_path: Path
) -> None:
    out = epath.Path(tmp_path / "out")
    beam = partial(run_on_beam, runner="DirectRunner", options=options, fault=TrainingError)
    build_folders(list_isic2019(archive), [], [SETTINGS], out, beam=beam)
    assert hash_files(out) == hash_files(data)
