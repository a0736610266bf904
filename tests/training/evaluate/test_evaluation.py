import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from etils import epath
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from processing.manifest import Estimate, EvidenceByModality
from tests.training.conftest import Exported
from tests.training.html_page import Page
from training.errors import TrainingError
from training.evaluate.evaluation import OUT_OF_FOLD, Evaluated, check_precision, evaluate_run
from training.evaluate.figures import judge
from training.evaluate.report import net_benefit, shift_prevalence
from training.serving.calibration import HELD_OUT, name_threshold
from training.serving.served import Served

# The scorer was written for pandas 2, where DataFrame.map was called applymap. Its reader of
# archives, which no test needs, would have to be compiled.
SCORER = """
import json, sys, zipfile
sys.modules["zipfile_deflate64"] = zipfile
from pathlib import Path
import pandas
pandas.DataFrame.applymap = pandas.DataFrame.map
from isic_challenge_scoring.classification import ClassificationMetric, ClassificationScore
truth, predictions = map(Path, sys.argv[1:])
score = ClassificationScore.from_file(truth, predictions, ClassificationMetric.AUC)
print(json.dumps(score.per_category.to_dict("index")["MEL"]))
"""


def balanced(served: Served) -> EvidenceByModality:
    """The evidence with another operating point in use, which both classes reach on few images."""
    return served.evidence.model_copy(update={"operating_point": "balanced"})


@pytest.fixture
def report(exported: Exported) -> Path:
    return exported.report


def test_figures_of_the_test_set_are_scikit_learns(evaluated: Evaluated) -> None:
    table = evaluated.predictions["test set drawn"]
    figures = evaluated.evaluation.judgements[1].figures
    target, probability = table["target"], table["probability"]
    assert figures["AUC"].value == pytest.approx(roc_auc_score(target, probability))
    assert figures["average precision"].value == pytest.approx(
        average_precision_score(target, probability)
    )
    assert figures["Brier score"].value == pytest.approx(brier_score_loss(target, probability))


def test_the_official_scorer_reads_our_csv_and_agrees(evaluated: Evaluated, report: Path) -> None:
    files = [str(report / "drawn-truth.csv"), str(report / "drawn.csv")]
    done = subprocess.run(
        [sys.executable, "-c", SCORER, *files], capture_output=True, text=True, check=True
    )
    official = json.loads(done.stdout)
    figures = evaluated.evaluation.judgements[1].figures
    assert figures["AUC"].value == pytest.approx(official["auc"])
    assert figures["average precision"].value == pytest.approx(official["ap"])
    # Theirs is the area below the curve, right of where it reaches 0.8; ours is what of it lies
    # above 0.8.
    table = evaluated.predictions["test set drawn"]
    right = 1 - _false_positive_rate_at(table, 0.8)
    assert figures["partial AUC above sensitivity 0.80"].value == pytest.approx(
        official["auc_sens_80"] - 0.8 * right
    )


def _false_positive_rate_at(table: pd.DataFrame, sensitivity: float) -> float:
    """Exactly eight of ten positives are found."""
    found = np.sort(table.loc[table["target"] == 1, "probability"])[::-1]
    threshold = found[round(sensitivity * len(found)) - 1]
    return float((table.loc[table["target"] == 0, "probability"] >= threshold).mean())


def test_out_of_fold_logits_are_those_of_the_run(evaluated: Evaluated, whole_run: Path) -> None:
    ours = evaluated.predictions[OUT_OF_FOLD].set_index("image_name")["logit"]
    run = pd.read_csv(whole_run / "oof.csv").set_index("image_name")["logit"]
    assert len(ours) == len(run)
    assert (ours - run).abs().max() < 1e-3


def test_three_in_a_hundred_held_out_lesions_are_rejected(evaluated: Evaluated) -> None:
    refused = evaluated.evaluation.judgements[0].refused
    assert refused is not None
    assert refused.value == pytest.approx(0.03, abs=0.025)


def test_pictures_without_a_lesion_are_rejected(evaluated: Evaluated) -> None:
    everything, *kinds = evaluated.evaluation.nonlesions
    assert everything.kind == "all"
    assert everything.pictures == sum(each.pictures for each in kinds) > 200
    assert everything.refused.value >= 0.95


def test_metrics_json_is_the_evaluation(evaluated: Evaluated, report: Path) -> None:
    assert (
        type(evaluated.evaluation).model_validate_json((report / "metrics.json").read_bytes())
        == evaluated.evaluation
    )


def test_the_page_shows_every_figure_plot_and_mistake(evaluated: Evaluated, report: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    judgement = evaluated.evaluation.judgements[1]
    cells = {cell.strip() for table in page.tables for row in table for cell in row}
    for name, figure in judgement.figures.items():
        assert name in cells
        assert f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})" in cells
    for title in ("ROC curves", "Precision and recall", "Reliability", "Decision curve"):
        assert title in page.text
    assert page.tags["svg"] == 6
    assert len([source for source in page.sources if source.startswith("data:image/jpeg")]) == 44
    assert not [source for source in page.sources if not source.startswith("data:")]


def test_int8_is_compared_with_another_run_and_with_float32(
    whole_run: Path, test_set: epath.Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(whole_run, tmp_path / "other"))
    # Twenty images: a pair that changes places costs a hundredth of the AUC.
    monkeypatch.setattr("training.evaluate.evaluation.REDUCED_TOLERANCE", 1.0)
    evaluation = evaluate_run(whole_run, [test_set], "int8", 1, against=other).evaluation
    assert evaluation.other_run == "other"
    assert [each.dataset for each in evaluation.against] == [OUT_OF_FOLD, "test set drawn"]
    for each in evaluation.against:  # the same run does not differ from itself
        assert (each.bootstrap.low, each.bootstrap.high, each.delong.p) == (0, 0, 1)
    (check,) = evaluation.precision_checks
    assert abs(check.served - check.float32) < 0.2


def test_a_reduced_precision_that_costs_auc_is_refused(
    evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluate.evaluation.REDUCED_TOLERANCE", 0.0)
    with pytest.raises(TrainingError, match="--precision float32: on test set drawn the AUC is 0"):
        check_precision(evaluated.served, evaluated.tests, evaluated.predictions)


def test_each_image_is_in_one_age_band_and_the_youngest_come_first(evaluated: Evaluated) -> None:
    served, table = evaluated.served, evaluated.predictions["test set drawn"]
    ages = np.resize([85, 29, np.nan, 30], len(table))
    cases = evaluated.tests[0].cases.assign(age_approx=ages)
    judgement = judge("drawn", table, cases, balanced(served), 2)
    found = [(each.name, each.images) for each in judgement.subgroups if each.by == "age"]
    quarter = len(table) // 4
    assert found == [
        ("under 30", quarter),
        ("30 to 49", quarter),
        ("70 and over", quarter),
        ("not known", quarter),
    ]
    (whole,) = [each for each in judgement.subgroups if each.by == "source"]
    assert whole.auc == judgement.figures["AUC"]


def test_modality_skin_tone_and_diagnosis_are_subgroups(evaluated: Evaluated) -> None:
    served, table = evaluated.served, evaluated.predictions["test set drawn"]
    tones = np.resize(["5", "0"], len(table))
    cases = evaluated.tests[0].cases.assign(modality="", skin_tone=tones)
    judgement = judge("drawn", table, cases, balanced(served), 2)
    found = {(each.by.split(",")[0], each.name): each for each in judgement.subgroups}
    assert found["modality", "not known"].images == len(table)
    assert found["skin tone", "0"].images == found["skin tone", "5"].images == len(table) // 2
    nevi = found["diagnosis", "nevus"]
    assert (nevi.images, nevi.positives, nevi.auc) == (10, 0, None)
    assert nevi.specificity is not None


def test_a_lesion_has_the_mean_probability_of_its_images(evaluated: Evaluated) -> None:
    served, table = evaluated.served, evaluated.predictions["test set drawn"]
    cases = evaluated.tests[0].cases.set_index("image_name").loc[table["image_name"]].reset_index()
    alone = cases.assign(lesion_id="")
    assert judge("drawn", table, alone, balanced(served), 2).by_lesion is None
    ordered = np.argsort(table["target"], kind="stable")
    pairs = np.empty(len(table), np.int64)
    pairs[ordered] = np.arange(len(table)) // 2
    cases = cases.assign(lesion_id=[f"L{pair}" for pair in pairs])
    lesions = judge("drawn", table, cases, balanced(served), 2).by_lesion
    assert lesions is not None
    assert (lesions.lesions, lesions.positives) == (10, 5)
    means = table.groupby(pairs)[["probability", "target"]].mean()
    expected = roc_auc_score(means["target"], means["probability"])
    assert lesions.auc.value == pytest.approx(expected)
    threshold = balanced(served).in_force.threshold
    found = (means["probability"] >= threshold)[means["target"] == 1].mean()
    assert lesions.sensitivity.value == pytest.approx(found)


def test_figures_of_thresholds_out_of_fold_are_those_of_the_other_folds(
    evaluated: Evaluated,
) -> None:
    oof, judgement = evaluated.predictions[OUT_OF_FOLD], evaluated.evaluation.judgements[0]
    for at, point in zip(
        judgement.at_thresholds, evaluated.served.evidence.operating_points, strict=True
    ):
        called = oof["probability"] >= oof[name_threshold(point.name)]
        assert at.sensitivity.value == pytest.approx(called[oof["target"] == 1].mean())
        assert (at.sensitivity, at.specificity) == (point.sensitivity, point.specificity)
    brier = brier_score_loss(oof["target"], oof[HELD_OUT])
    assert judgement.figures["Brier score"].value == pytest.approx(brier)
    (platt,) = [each for each in evaluated.evaluation.calibrations if each.way == "Platt"]
    assert platt.brier == pytest.approx(brier)


def test_baselines_of_a_test_set_are_fitted_on_the_training_data(evaluated: Evaluated) -> None:
    oof, test = evaluated.evaluation.judgements
    assert oof.baselines_fitted_on == "this data set"
    assert test.baselines_fitted_on == "the training data"


def test_net_benefit_holds_for_the_prevalence_that_is_stated() -> None:
    # Ten in a hundred are positive.
    target = np.repeat([1, 1, 0, 0], [6, 4, 9, 81])
    probability = np.repeat([0.5, 0.1, 0.5, 0.1], [6, 4, 9, 81])
    (benefit,) = net_benefit(target, probability, np.array([0.2]), 0.1)
    assert benefit == pytest.approx((6 - 9 * 0.2 / 0.8) / 100)
    (benefit,) = net_benefit(target, probability, np.array([0.2]), 0.05)
    assert benefit == pytest.approx(0.05 * 0.6 - 0.95 * 0.1 * 0.25)
    shifted = shift_prevalence(np.array([0.1, 0.5]), 0.1, 0.05)
    assert shifted == pytest.approx([0.05, 0.05 / 0.1 / (0.05 / 0.1 + 0.95 / 0.9)])


def test_a_test_set_of_one_class_is_named(evaluated: Evaluated) -> None:
    served, table = evaluated.served, evaluated.predictions["test set drawn"]
    positives = table[table["target"] == 1]
    with pytest.raises(TrainingError, match="drawn: all 10 images are of one class"):
        judge("drawn", positives, evaluated.tests[0].cases, balanced(served), 2)


def test_predictive_values_follow_from_sensitivity_and_specificity(evaluated: Evaluated) -> None:
    judgement = evaluated.evaluation.judgements[0]
    point = next(
        each
        for each in judgement.at_thresholds
        if each.operating_point == evaluated.evaluation.evidence.operating_point
    )
    found, cleared = point.sensitivity.value, point.specificity.value
    for each in judgement.predictive_values:
        ill, well = each.prevalence, 1 - each.prevalence
        expected = ill * found / (ill * found + well * (1 - cleared))
        assert isinstance(each.positive, Estimate)
        assert each.positive.value == pytest.approx(expected)
