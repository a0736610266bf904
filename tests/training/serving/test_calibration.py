import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import log_loss

from training.errors import TrainingError
from training.serving.calibration import (
    HELD_OUT,
    calibrate,
    choose_operating_points,
    compare_calibrations,
    cross_fit,
    fit_calibration,
    name_threshold,
)

RNG = np.random.default_rng(0)
LOGIT = RNG.normal(-2, 2, 20_000)
TARGET = (RNG.random(20_000) < expit(LOGIT)).astype(int)


def table_of(probability: NDArray[np.floating]) -> pd.DataFrame:
    columns = {"target": TARGET, "probability": probability, "logit": LOGIT}
    numbers = np.arange(len(TARGET))
    return cross_fit(pd.DataFrame({**columns, "group": numbers, "fold": numbers % 4}))


def test_calibration_undoes_a_shift_and_a_stretch() -> None:
    oof = pd.DataFrame({"logit": LOGIT * 2 + 3, "target": TARGET})
    fitted = fit_calibration(oof, "drawn numbers")
    assert np.abs(calibrate(oof["logit"].to_numpy(), fitted) - expit(LOGIT)).max() < 0.02


def test_logits_that_fall_with_the_target_are_refused() -> None:
    with pytest.raises(TrainingError, match="learned nothing"):
        fit_calibration(pd.DataFrame({"logit": -LOGIT, "target": TARGET}), "drawn numbers")


def test_operating_points_reach_their_sensitivity_and_no_higher_threshold_does() -> None:
    probability = expit(LOGIT)
    for point in choose_operating_points(table_of(probability), "drawn numbers")[:2]:
        level = float(point.name.split()[-1])
        assert (probability[TARGET == 1] >= point.threshold).mean() >= level
        assert point.sensitivity.value == pytest.approx(level, abs=0.01)
        one_fewer = np.sort(probability[(TARGET == 1) & (probability > point.threshold)])[0]
        assert (probability[TARGET == 1] > one_fewer).mean() < level


@pytest.mark.parametrize("digits", [9, 1])  # with one digit, many photos have the same probability
def test_a_point_reaches_its_specificity_and_no_lower_threshold_does(digits: int) -> None:
    probability = np.round(expit(LOGIT), digits)
    point = choose_operating_points(table_of(probability), "drawn numbers")[-1]
    assert point.name == "specificity 0.90"
    others = probability[TARGET == 0]
    assert (others < point.threshold).mean() >= 0.90
    next_lower = probability[probability < point.threshold].max()
    assert (others < next_lower).mean() < 0.90


def test_no_prediction_lies_on_a_threshold() -> None:
    probability = np.round(expit(LOGIT), 2)
    for point in choose_operating_points(table_of(probability), "drawn numbers"):
        assert np.abs(probability - point.threshold).min() > 1e-6


def test_a_shift_needs_more_than_a_temperature() -> None:
    oof = pd.DataFrame({"logit": LOGIT * 2 + 3, "target": TARGET, "fold": np.arange(20_000) % 4})
    checks = {check.way: check for check in compare_calibrations(oof)}
    best = checks["Platt"]
    assert best.log_loss == pytest.approx(log_loss(TARGET, expit(LOGIT)), rel=0.01)
    assert checks["isotonic"].log_loss == pytest.approx(best.log_loss, rel=0.02)
    assert checks["none"].log_loss > checks["temperature"].log_loss > 1.1 * best.log_loss
    assert checks["temperature"].brier > best.brier


def test_what_is_reported_of_a_fold_was_chosen_on_the_others() -> None:
    oof = table_of(expit(LOGIT))
    changed = oof.copy()
    changed.loc[changed["fold"] == 0, ["logit", "probability"]] = [9.0, 0.99]  # learns nothing
    changed = cross_fit(changed)
    columns = [HELD_OUT, name_threshold("sensitivity 0.95"), name_threshold("balanced")]
    first = oof["fold"] == 0
    np.testing.assert_array_equal(changed.loc[first, columns[1:]], oof.loc[first, columns[1:]])
    assert changed.loc[first, HELD_OUT].nunique() == 1
    assert (changed.loc[~first, columns[1]] != oof.loc[~first, columns[1]]).all()
