import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from processing.manifest import EvidenceByModality
from training.serving.calibration import HELD_OUT, OPERATING_POINT, name_threshold
from training.serving.evidence import apply_evidence, choose_evidence

IMAGES = 3000
IN_USE = name_threshold(OPERATING_POINT)


def predict(close_ups: int) -> pd.DataFrame:
    """Out-of-fold predictions, in which close-ups have other logits than dermoscopic photos."""
    rng, number = np.random.default_rng(0), np.arange(IMAGES)
    close_up = number < close_ups
    target = (rng.uniform(size=IMAGES) < np.where(close_up, 0.1, 0.3)).astype(int)
    logit = rng.normal(np.where(close_up, 2, -2) + 2 * target, 1)
    return pd.DataFrame(
        {
            "image_name": number.astype(str),
            "target": target,
            "group": number.astype(str),
            "source": "a",
            "modality": np.where(close_up, "close-up", "dermoscopic"),
            "logit": logit,
            "fold": number % 3,
            "distance": np.where(number % 3 == 0, rng.uniform(size=IMAGES) + close_up, np.nan),
        }
    )


def test_each_kind_of_photo_keeps_the_promise_by_itself() -> None:
    evidence, oof = choose_evidence(predict(1500), 3, "melanomas")
    assert set(evidence.modalities) == {"dermoscopic", "close-up"}
    for modality, held in evidence.modalities.items():
        rows = oof[oof["modality"] == modality]
        found = rows[rows["target"] == 1]
        assert (found["probability"] >= held.in_force.threshold).mean() == pytest.approx(
            0.95, abs=0.01
        )
        assert rows["probability"].mean() == pytest.approx(rows["target"].mean(), abs=1e-3)
        assert rows[HELD_OUT].mean() == pytest.approx(rows["target"].mean(), abs=0.01)
        assert (rows[IN_USE] - held.in_force.threshold).abs().max() < 0.05
        assert held.in_force.measured_on.startswith(
            f"out-of-fold predictions, {modality}, 3 folds: 1500"
        )
        assert held.outliers is not None
        assert 0 < rows["outlier"].mean() <= 0.035
        assert rows["outlier"].isna().sum() == 1000
    # One threshold for both would flag nearly every close-up.
    assert evidence.modalities["close-up"].in_force.threshold != pytest.approx(
        evidence.modalities["dermoscopic"].in_force.threshold, rel=0.1
    )


@pytest.mark.parametrize(("close_ups", "unknown"), [(100, 0), (0, 0), (1500, 1)])
def test_with_few_photos_of_a_kind_or_kinds_not_known_all_have_the_same_evidence(
    close_ups: int, unknown: int
) -> None:
    oof = predict(close_ups)
    oof.loc[oof.index[:unknown], "modality"] = ""
    evidence, table = choose_evidence(oof, 3, "melanomas")
    assert evidence.modalities == {}
    assert table[IN_USE].nunique() == 3  # one for each fold
    found = table[table["target"] == 1]["probability"] >= evidence.in_force.threshold
    assert found.mean() == pytest.approx(0.95, abs=0.01)


def test_photos_are_decided_on_by_the_kind_that_the_graph_tells() -> None:
    evidence, _ = choose_evidence(predict(1500), 3, "melanomas")
    outputs = {
        "probability": np.float32([0.5, 0.5, 0.5]),
        "modality": np.float32([0.9, 0.1, 0.5]),
        "distance": np.float32([1.5, 1.5, 0.5]),
    }
    table = apply_evidence(outputs, evidence)
    assert table["told"].tolist() == ["dermoscopic", "close-up", "dermoscopic"]
    thresholds = [evidence.choose(told).in_force.threshold for told in table["told"]]
    assert table[IN_USE].tolist() == thresholds
    assert table["outlier"].tolist() == [True, False, False]
    plain = EvidenceByModality(**dict(evidence) | {"modalities": {}, "outliers": None})
    del outputs["modality"], outputs["distance"]
    table = apply_evidence(outputs, plain)
    assert table["told"].tolist() == [""] * 3
    assert table["outlier"].isna().all()
    assert (table[IN_USE] == plain.in_force.threshold).all()


def test_the_probability_of_a_kind_is_calibrated_for_it() -> None:
    evidence, oof = choose_evidence(predict(1500), 3, "melanomas")
    calibration = evidence.modalities["close-up"].calibration
    rows = oof[oof["modality"] == "close-up"]
    assert rows["probability"].to_numpy() == pytest.approx(
        expit(calibration.slope * rows["logit"] + calibration.intercept)
    )
