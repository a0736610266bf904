import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from processing.manifest import Estimate
from tests.training.html_page import Page
from training.recipe import Schedule, TrainSettings
from training.train.report import REPORT, write_run_report
from training.train.run import FoldMetrics, RunMetrics, note_environment, open_run

FOLDS, PER_FOLD = 3, 60


@pytest.fixture
def drawn(train_settings: TrainSettings) -> TrainSettings:
    """Settings of a run whose files a test draws."""
    return train_settings.model_copy(update={"folds": FOLDS, "epochs": 4})


def write_fold(run: Path, fold: int, epochs: int = 4, done: bool = True, tta: bool = True) -> None:
    """Write the files of a fold that was trained for some epochs and, if finished, predicted."""
    folder = run / f"fold{fold}"
    folder.mkdir(parents=True)
    steps = range(1, epochs + 1)
    history = {"epoch": steps, "loss": [1 / n for n in steps], "seconds": 90.0}
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    if not done:
        return
    rng = np.random.default_rng(fold)
    oof = pd.DataFrame({"image_name": [f"image{fold}_{i}" for i in range(PER_FOLD)]})
    oof["target"] = [int(i % 5 == 0) for i in range(PER_FOLD)]
    oof["group"] = oof["image_name"]
    oof["logit"] = oof["target"] + rng.normal(size=PER_FOLD)
    if tta:
        oof["logit_tta"] = oof["logit"] + oof["target"]
    oof.assign(fold=fold).to_csv(folder / "oof.csv", index=False)


def measure(settings: TrainSettings, done: list[int]) -> RunMetrics:
    """Make the content of metrics.json, with fixed AUCs, because their bootstrap takes seconds."""
    auc = Estimate(value=0.81, low=0.7, high=0.9)
    tta = Estimate(value=0.83, low=0.72, high=0.92) if settings.tta else None
    one = {"images": PER_FOLD, "positives": 12, "auc": auc, "auc_tta": tta, "seconds": 360.0}
    return RunMetrics(
        folds_done=len(done),
        folds=settings.folds,
        by_fold=[FoldMetrics(fold=fold, epochs=4, **one) for fold in done],
        **one | {name: one[name] * len(done) for name in ("images", "positives", "seconds")},
    )


def report(run: Path, settings: TrainSettings, *done: int) -> Page:
    """Write the page of a run with these folds finished, and read it."""
    open_run(run, settings)
    note_environment(run, "GPU, 1 <A100>", "mixed_float16")
    write_run_report(run, settings, measure(settings, list(done)))
    return Page((run / REPORT).read_text(encoding="utf-8"))


def test_training_writes_a_page_of_the_finished_folds(run: Path) -> None:
    page = Page((run / REPORT).read_text(encoding="utf-8"))
    metrics = json.loads((run / "metrics.json").read_text())
    assert f"AUC {metrics['auc']['value']:.3f}" in page.text
    assert "1 of 2 folds" in page.text
    assert f"tensorboard --logdir {run}" in page.text
    assert page.tags["svg"] == 4
    (session,) = json.loads((run / "environment.json").read_text())
    assert page.tables[-1] == [list(session), list(session.values())]


def test_the_table_has_each_fold_and_the_pool(drawn: TrainSettings, tmp_path: Path) -> None:
    for fold in range(FOLDS):
        write_fold(tmp_path / "run", fold)
    page = report(tmp_path / "run", drawn, *range(FOLDS))
    head, *folds, pooled = page.tables[0]
    assert head[-4:] == ["AUC (95 % interval)", "AUC, 8 views", "Epochs", "Minutes"]
    figures = ["0.810 (0.700 to 0.900)", "0.830 (0.720 to 0.920)"]
    assert folds == [[str(fold), "60", "12", *figures, "4", "6.0"] for fold in range(FOLDS)]
    assert pooled == ["pooled", "180", "36", *figures, "", "18.0"]
    assert f"AUC {figures[0]}" in page.words
    assert figures[1] in page.words
    assert "3 of 3 folds" in page.text


def test_an_unfinished_fold_is_listed_and_its_losses_are_drawn(
    drawn: TrainSettings, tmp_path: Path
) -> None:
    write_fold(tmp_path / "run", 0)
    write_fold(tmp_path / "run", 2, epochs=1, done=False)
    page = report(tmp_path / "run", drawn, 0)
    assert page.tables[0][2] == ["2", "", "", "not finished", "", "1", "1.5"]
    assert page.tables[0][3][:2] == ["pooled", "60"]
    assert "1 of 3 folds" in page.text
    assert page.words.count("fold 0") == 2  # losses and ROC curve
    assert page.words.count("fold 2") == 1
    assert "fold 1" not in page.words


def test_a_run_with_single_views_shows_no_others(drawn: TrainSettings, tmp_path: Path) -> None:
    write_fold(tmp_path / "run", 1, tta=False)
    page = report(tmp_path / "run", drawn.model_copy(update={"tta": False}), 1)
    assert "AUC, 8 views" not in page.tables[0][0]
    assert "eight orientations" not in page.text
    assert {len(row) for row in page.tables[0]} == {6}


def test_the_draw_of_each_fold_is_shown(drawn: TrainSettings, tmp_path: Path) -> None:
    write_fold(tmp_path / "run", 1)
    row = {"stratum": "target:1", "images": 1200, "positives": 1200, "drawn": 3000, "times": 2.5}
    pd.DataFrame([row]).to_csv(tmp_path / "run" / "fold1" / "drawn.csv", index=False)
    settings = drawn.model_copy(update={"balance": ("target:1=0.3",)})
    page = report(tmp_path / "run", settings, 1)
    assert page.tables[1][1:] == [["1", "target:1", "1,200", "1,200", "3,000", "2.50"]]


def test_settings_and_sessions_are_shown(drawn: TrainSettings, tmp_path: Path) -> None:
    write_fold(tmp_path / "run", 0)
    (tmp_path / "run" / "environment.json").write_text('[{"python": "3.9", "devices": "none"}]')
    changes = {"extra_sources": ("isic2019", "<i>"), "freeze_epochs": 2}
    page = report(tmp_path / "run", drawn.model_copy(update=changes), 0)
    words = [word for word in page.words if word]
    for name, value in {
        "backbone": "EfficientNetLite0",
        "steps per epoch": "default",
        "extra sources": "isic2019, <i>",
        "omitted sources": "none",
        "tta": "yes",
    }.items():
        assert words[words.index(name) + 1] == value
    assert "name: warmup_decay, learning rate: 0.001" in page.text
    assert "Until epoch 2, only the last layer was trained" in page.text
    head, earlier, now = page.tables[-1]
    assert earlier == ["3.9", "none"] + [""] * (len(head) - 2)
    assert {"GPU, 1 <A100>", "mixed_float16"} <= set(now)


@pytest.mark.parametrize("name", ["warmup_decay", "decay", "cyclic"])
def test_every_schedule_is_drawn(drawn: TrainSettings, tmp_path: Path, name: str) -> None:
    write_fold(tmp_path / "run", 0)
    schedule = Schedule.model_validate({"name": name})
    page = report(tmp_path / "run", drawn.model_copy(update={"schedule": schedule}), 0)
    assert "learning rate" in page.words


def test_the_page_needs_nothing_else(drawn: TrainSettings, tmp_path: Path) -> None:
    write_fold(tmp_path / "run", 0)
    page = report(tmp_path / "run", drawn, 0)
    assert page.sources == []
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
