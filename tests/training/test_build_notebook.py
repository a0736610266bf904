"""The notebook that builds on Kaggle, executed on drawn lesions."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from etils import epath
from nbclient.exceptions import CellExecutionError

from tests.training.archives import write_isic2020
from tests.training.notebooks import FOLDER, ROOT, execute, read_notebook
from training.data.folder import read_data


class Session(NamedTuple):
    """What a run of the notebook left."""

    out: Path
    shown: str  # what its cells printed


def build(isic2020: Path, out: Path) -> Session:
    parameters = {
        "code": str(ROOT),
        "attached": str(isic2020.parent),
        "sources": ["--isic2020", str(isic2020.parent / "competitions" / isic2020.name)],
        "out": str(out),
        "python": sys.executable,
    }
    return Session(out, execute("build_tfrecords.ipynb", parameters))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("kaggle")
    # One of four patients has a melanoma, and each of the 15 shards needs one.
    archive = write_isic2020(folder / "siim-isic-melanoma-classification", patients=64, side=64)
    (archive / "jpeg").mkdir()
    (archive / "train").rename(archive / "jpeg/train")  # as Kaggle has it
    return build(archive, folder / "data")


@pytest.mark.slow
def test_the_notebook_makes_two_data_sets_of_the_same_images(session: Session) -> None:
    small, large = (read_data(epath.Path(session.out / size)) for size in ("224", "384"))
    assert (small.build.settings.size, large.build.settings.size) == (224, 384)
    assert list(small.cases["image_name"]) == list(large.cases["image_name"])


@pytest.mark.slow
def test_the_notebook_shows_the_counts_and_the_audit(session: Session) -> None:
    lines = [line.split() for line in session.shown.splitlines()]
    assert ["=", "kept", "128", "16", "128", "16"] in lines
    assert "No leak found." in session.shown
    assert (session.out / "384/inspect.html").exists()


@pytest.mark.slow
def test_the_data_set_is_described_as_kaggle_demands(session: Session) -> None:
    # https://github.com/Kaggle/kaggle-cli/blob/main/docs/datasets_metadata.md
    described = json.loads((session.out / "dataset-metadata.json").read_text(encoding="utf-8"))
    owner, name = described["id"].split("/")
    assert owner
    assert 6 <= len(name) <= 50
    assert 6 <= len(described["title"]) <= 50
    assert described["licenses"] == [{"name": "CC-BY-NC-4.0"}]


@pytest.mark.slow
def test_a_build_that_fails_stops_the_notebook(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CellExecutionError, match=r"holds none of train\.csv"):
        build(tmp_path / "empty", tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["build_tfrecords.ipynb", "train_tpu.ipynb"])
def test_a_placeholder_for_the_repository_stops_the_notebook(name: str, tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="OWNER/REPOSITORY is a placeholder. Set it to"):
        execute(name, {"code": str(tmp_path / "absent")})


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.ipynb")))
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    for cell in read_notebook(name).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
