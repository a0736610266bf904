"""What an earlier version wrote stays readable.

Commit 65846a8, the last one before `training/` was split into packages, wrote the files under
`tests/written_before`: a data folder of drawn lesions, a run trained on it (without its models,
which are too large to be kept here), and a store with two bundles around a small graph.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from etils import epath

from app.classifier import Classifier
from processing.bundle import read_bundle
from processing.store.open import fetch_bundle, find_version, open_store
from tests.training.html_page import Page
from training.__main__ import main
from training.commands.options import make_settings
from training.data.batches import check_first_records, choose_records, decode_records
from training.data.folder import read_data, read_dropped
from training.inspect.leaks import run_audit
from training.recipe import read_config
from training.ship.publish import list_models
from training.train.report import REPORT, write_run_report
from training.train.run import RunMetrics, check_run, pool, read_oof, read_settings, render_metrics
from training.train.splits import split_folds

WRITTEN = Path(__file__).parents[1] / "written_before"
DATA, RUN = epath.Path(WRITTEN / "data"), WRITTEN / "run"
FIRST, SECOND = "311bd27bd2d2", "6cbd2a64b6bb"  # versions, abbreviated


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUN, tmp_path / "run"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN / "store", tmp_path / "store"))


def test_a_data_folder_is_read_to_its_last_pixel() -> None:
    data = read_data(DATA)
    assert (len(data.cases), data.cases["target"].sum()) == (40, 16)
    assert (data.build.settings.size, data.build.settings.crop_fraction) == (32, 0.8)
    assert data.cases["lesion_id"].str.len().gt(0).sum() == 38
    check_first_records(data.shards(), 32)
    (batch,) = decode_records(choose_records(data, data.cases), 32, 64)
    assert batch["image"].shape == (40, 32, 32, 3)
    names = [name.decode() for name in batch["image_name"].numpy()]
    targets = data.cases.set_index("image_name")["target"]
    np.testing.assert_array_equal(batch["target"].numpy()[:, 0], targets[names])
    assert len(read_dropped(DATA)) == 0


def test_a_data_folder_is_audited(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_audit(DATA, [], None)
    assert "No leak found." in capsys.readouterr().out


def test_settings_of_a_run_are_read_and_fit_its_data() -> None:
    settings = read_settings(RUN)
    assert (settings.backbone, settings.seed) == ("EfficientNetLite0", 3)
    assert settings.augmentation.rotation_degrees == 90
    data = read_data(DATA)
    assert settings.data_sha256 == data.build.cases_sha256
    assert {len(split.scored) for split in split_folds(settings, data).values()} == {20}


def test_a_run_gives_its_settings_to_another_and_can_be_resumed() -> None:
    data = read_data(DATA)
    given = read_config(RUN / "config.json")
    assert given.pop("data") == "data"
    settings = make_settings(data, given)
    built = data.build.settings
    now: dict[str, Any] = {"crop_fraction": built.crop_fraction, "pixel_path": built.pixel_path}
    assert now["pixel_path"] == 1
    written = read_settings(RUN)
    assert written.crop_fraction is written.pixel_path is None
    now["data"] = str(data.folder)
    new_defaults = {"thaw_warmup_epochs": 0.5, "batchnorm_images": 2048}
    assert settings == written.model_copy(update=now | new_defaults)
    resumed = make_settings(data, {}, written)
    assert resumed == written.model_copy(update=now)
    check_run(RUN, resumed, resume=True)


def test_figures_of_a_run_are_read_and_come_out_the_same_again(run: Path) -> None:
    metrics = RunMetrics.model_validate_json((RUN / "metrics.json").read_bytes())
    oof = read_oof(RUN, 2)
    assert set(oof["image_name"]) == set(read_data(DATA).cases["image_name"])
    assert {"logit", "logit_tta"} <= set(oof)
    head, *folds, pooled = render_metrics(metrics).splitlines()
    assert "AUC, 8 views" in head
    assert [line.split()[:3] for line in folds] == [["0", "20", "8"], ["1", "20", "8"]]
    assert pooled.split()[:3] == ["pooled", "40", "16"]
    assert pool(run, 2) == metrics


def test_the_page_of_a_run_is_written_anew(run: Path) -> None:
    metrics = RunMetrics.model_validate_json((run / "metrics.json").read_bytes())
    write_run_report(run, read_settings(run), metrics)
    page = Page((run / REPORT).read_text(encoding="utf-8"))
    assert "2 of 2 folds" in page.text
    assert f"AUC {metrics.auc.value:.3f}" in page.text
    assert "EfficientNetLite0" in page.words


def test_the_bundle_of_a_store_is_fetched_and_served(store: Path, tmp_path: Path) -> None:
    bundle = fetch_bundle(str(store), tmp_path / "cache")
    assert bundle.manifest.version == find_version(str(store))
    assert bundle.manifest.version.startswith(SECOND)
    assert bundle.read_card() == "# The second model\n"
    images, _ = bundle.read_golden()
    answers = Classifier(bundle, threads=1).classify(images)  # which compares the golden answers
    assert {len(answer.by_view) for answer in answers} == {2}


def test_a_store_is_listed_rolled_back_and_published_to(store: Path, tmp_path: Path) -> None:
    second, first = list_models(str(store))
    assert (second.manifest.version[:12], second.note) == (SECOND, "second")
    assert (first.manifest.version[:12], first.note) == (FIRST, "first")
    assert second.aucs["drawn"].estimate.value == 0.9
    assert open_store(str(store)).rollback() == first.manifest.version
    assert fetch_bundle(str(store), tmp_path / "cache").read_card() == "# The first model\n"
    again = store / "bundles" / second.manifest.version
    assert read_bundle(again).manifest == second.manifest
    result = CliRunner().invoke(main, ["publish", str(again), str(store)], catch_exceptions=False)
    assert f"{second.manifest.version} is current" in result.output
