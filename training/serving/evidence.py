"""What is chosen out of fold for a graph, for all photos and for each kind of photo alone."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from processing.manifest import Evidence, EvidenceByModality, Modality, Outliers, name_modality
from training.data.vocabulary import MODALITIES
from training.metrics.intervals import proportion
from training.serving.calibration import (
    OPERATING_POINT,
    calibrate,
    choose_operating_points,
    cross_fit,
    fit_calibration,
    name_threshold,
)
from training.serving.outliers import choose_threshold

_FEWEST = 20  # images of each class in each fold, for a kind of photo to have evidence of its own
_SCORE_BINS = 20


class Chosen(NamedTuple):
    """What was chosen, and the out-of-fold predictions with what it makes of them."""

    evidence: EvidenceByModality
    oof: pd.DataFrame


def choose_evidence(
    oof: pd.DataFrame, folds: int, plural: str, *, tells_kinds: bool = True
) -> Chosen:
    """Choose calibration and thresholds for all photos, and for each kind of photo with enough.

    Args:
        oof: columns target, group, source, modality, logit, fold, and distance, which is missing
            where it was not measured.
        folds: their number.
        plural: what the positives are called.
        tells_kinds: whether the graph tells kinds of photo apart.

    Returns:
        `oof` also has probability, outlier and what `cross_fit` adds, each by the evidence that
        holds for the kind of photo.

    Raises:
        TrainingError: as `fit_calibration`.
    """
    pooled, table = _choose(oof, _describe(oof, "", folds, plural))
    modalities = {}
    for modality in _list_modalities(oof) if tells_kinds else ():
        of_kind = oof["modality"] == modality
        name = _describe(oof[of_kind], f"{modality}, ", folds, plural)
        modalities[modality], part = _choose(oof[of_kind], name)
        table.loc[of_kind, part.columns] = part
    evidence = EvidenceByModality(**dict(pooled), modalities=modalities)
    return Chosen(evidence, table.astype({"outlier": "boolean"}))


def _list_modalities(oof: pd.DataFrame) -> list[Modality]:
    """List the kinds of photo that have evidence of their own: all or none."""
    counts = oof.groupby(["modality", "fold", "target"]).size()
    full = counts.reindex(
        pd.MultiIndex.from_product([MODALITIES, oof["fold"].unique(), (0, 1)]), fill_value=0
    )
    # A photo of a kind that is not recorded could belong to either.
    known = oof["modality"].isin(MODALITIES).all()
    return list(MODALITIES) if known and full.min() >= _FEWEST else []


def _describe(oof: pd.DataFrame, kind: str, folds: int, plural: str) -> str:
    return (
        f"out-of-fold predictions, {kind}{folds} folds: {len(oof)} images, "
        f"{oof['target'].sum()} {plural}"
    )


def _choose(oof: pd.DataFrame, name: str) -> tuple[Evidence, pd.DataFrame]:
    calibration = fit_calibration(oof, name)
    table = oof.assign(probability=calibrate(oof["logit"].to_numpy(), calibration))
    table = cross_fit(table)
    measured = table[table["distance"].notna()]
    threshold = choose_threshold(measured["distance"], measured["source"], measured["target"])
    outlier = measured["distance"] > threshold
    evidence = Evidence(
        operating_points=choose_operating_points(table, name),
        operating_point=OPERATING_POINT,
        calibration=calibration,
        outliers=Outliers(
            threshold=threshold,
            refused=proportion(outlier.to_numpy(), measured["group"].to_numpy()),
            measured_on=name,
        ),
        scores=tuple(np.histogram(table["probability"], _SCORE_BINS, (0, 1))[0] / len(table)),
    )
    return evidence, table.assign(outlier=outlier.reindex(table.index).astype("boolean"))


def apply_evidence(
    outputs: Mapping[str, NDArray[np.floating]], evidence: EvidenceByModality
) -> pd.DataFrame:
    """Decide on photos as the app does, by the kind that the graph takes each for.

    Args:
        outputs: of the graph, for N photos.

    Returns:
        Columns probability, outlier (missing where photos are not rejected), told (the kind; "" if
        the graph does not tell), and for each operating point its threshold in the column
        `name_threshold` of its name.
    """
    probability = outputs["probability"].astype(np.float64)
    told: list[Modality | None] = (
        [name_modality(each) for each in outputs["modality"]]
        if "modality" in outputs
        else [None] * len(probability)
    )
    held = [evidence.choose(each) for each in told]
    columns: dict[str, object] = {
        "probability": probability,
        "outlier": pd.array(_reject(outputs, held), dtype="boolean"),
        "told": [each or "" for each in told],
    }
    for number, point in enumerate(evidence.operating_points):
        thresholds = [each.operating_points[number].threshold for each in held]
        columns[name_threshold(point.name)] = thresholds
    return pd.DataFrame(columns)


def _reject(outputs: Mapping[str, NDArray[np.floating]], held: list[Evidence]) -> list[bool | None]:
    if any(each.outliers is None for each in held):
        return [None] * len(held)
    return [
        bool(distance > each.outliers.threshold)
        for distance, each in zip(outputs["distance"], held, strict=True)
        if each.outliers
    ]
