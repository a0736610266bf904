"""How good a run or a bundle is as it is served.

A run is measured out of fold, on test sets and on pictures without a lesion; a bundle, whose run
need not be there, on the latter two.
"""

import functools
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from etils import epath
from PIL import Image

from processing.image import read_square
from processing.manifest import Estimate, EvidenceByModality, Input
from training.data.folder import Data, read_data
from training.data.folds import describe_separation
from training.errors import TrainingError
from training.evaluate.figures import ASSUMED_PREVALENCE, Judgement, judge
from training.evaluate.nonlesions import list_nonlesions
from training.metrics.intervals import DeLong, Difference, auc, auc_difference, delong, proportion
from training.serving.calibration import CalibrationCheck, compare_calibrations
from training.serving.evidence import apply_evidence
from training.serving.graph import Precision, run_litert
from training.serving.published import read_published
from training.serving.served import (
    Served,
    check_fit,
    predict_test,
    read_finished_run,
    read_tests,
    require_apart,
    serve_run,
)
from training.strict import StrictModel

_log = logging.getLogger(__name__)

OUT_OF_FOLD = "out-of-fold"
_FOLDS = 5  # of the baselines on a test set where the training data are not known
REDUCED_TOLERANCE = 0.002  # difference in AUC that a reduced precision may cause on any test set


class NonlesionCheck(StrictModel):
    """How many pictures of one kind, none of which shows a lesion, are rejected."""

    kind: str
    pictures: int
    refused: Estimate


class PrecisionCheck(StrictModel):
    """AUC on one data set in float32 and in the precision that is served."""

    dataset: str
    float32: float
    served: float


class AucDifference(StrictModel):
    """Difference in AUC from another run, on the same images."""

    dataset: str
    other: float  # its AUC
    bootstrap: Difference
    delong: DeLong


class Evaluation(StrictModel):
    """The content of metrics.json."""

    model: str  # name of the run, or address and version of the bundle
    backbone: str
    size: int
    # Of the folds' networks, how many are served. None, like what follows: the bundle does not say.
    folds: int | None
    weights_averaged: bool  # the folds' weights, in one network
    precision: Precision | None
    views: int | None
    # Largest difference in probability between Keras and the float32 graph.
    keras_difference: float | None
    target: str  # what counts as positive
    separation: str  # what no two folds share, in sentences; "" for a bundle
    leaks: str  # in a sentence, whether test sets may share images with the training data
    assumed_prevalence: float  # share of positives that the decision curve assumes
    calibrated_prevalence: float | None  # share among the images that calibration was fitted on
    evidence: EvidenceByModality  # what was chosen, out of fold
    calibrations: tuple[CalibrationCheck, ...]
    judgements: tuple[Judgement, ...]
    nonlesions: tuple[NonlesionCheck, ...]
    precision_checks: tuple[PrecisionCheck, ...]
    other_run: str | None
    against: tuple[AucDifference, ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An evaluation, and the images and predictions that it was computed from, by data set."""

    evaluation: Evaluation
    datasets: dict[str, Data]
    predictions: dict[str, pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Evaluated(Measured):
    """The evaluation of a run, from which a bundle can be made."""

    served: Served
    tests: list[Data]


def evaluate_run(
    run: Path,
    tests: Sequence[epath.Path],
    precision: Precision = "float32",
    views: int = 1,
    against: Path | None = None,
    *,
    folds_served: int | None = None,
    average_weights: bool = False,
    centre: float | None = None,
) -> Evaluated:
    """Measure a run as it is served: out of fold, on test sets, and on pictures without a lesion.

    Args:
        tests: data folders that share nothing with the training data. They choose nothing.
        precision: of the served graph.
        views: number of orientations that the served graph averages.
        against: another run to compare with, trained on the same images.
        folds_served, average_weights, centre: as for `training.serving.served.serve_run`.

    Raises:
        TrainingError: a fold is not finished, a test set shares something with the training data,
            or a reduced precision changes an AUC by `REDUCED_TOLERANCE` or more; or weights are to
            be averaged, and there is no test set.
    """
    if average_weights and not tests:
        raise TrainingError(
            "--average-weights needs --test: the averaged network has learned from every image of "
            "the training data, so that only others can show what it is worth."
        )
    finished = read_finished_run(run)
    read = read_tests(tests, finished.data)
    other_run = read_finished_run(against) if against else None
    if other_run:
        read_tests(tests, other_run.data)
    serve = functools.partial(
        serve_run,
        precision=precision,
        views=views,
        folds_served=folds_served,
        average_weights=average_weights,
        centre=centre,
    )
    served = serve(finished)
    predictions = _predict_all(served, read)
    checks = check_precision(served, read, predictions) if precision != "float32" else ()
    others = {}
    if other_run:
        _log.info("Other run: %s", against)
        others = _predict_all(serve(other_run), read)
    datasets = {OUT_OF_FOLD: finished.data} | {name_test(test): test for test in read}
    _log.info("Measuring")
    settings, built = finished.settings, finished.data.build.settings
    scored = finished.data.cases["image_name"].isin(served.oof["image_name"])
    fitted = {OUT_OF_FOLD: None} | {name_test(test): finished.data.cases[scored] for test in read}
    evaluation = Evaluation(
        model=run.name,
        backbone=settings.backbone,
        size=settings.size,
        folds=served.folds,
        weights_averaged=average_weights,
        precision=precision,
        views=views,
        keras_difference=served.keras_difference,
        target=built.target,
        separation=describe_separation(finished.data.cases),
        leaks=_describe_leaks(finished.data),
        assumed_prevalence=ASSUMED_PREVALENCE,
        calibrated_prevalence=float(served.oof["target"].mean()),
        evidence=served.evidence,
        calibrations=tuple(compare_calibrations(served.oof)),
        judgements=tuple(
            judge(
                *(name, table, datasets[name].cases, served.evidence),
                folds=settings.folds,
                training=fitted[name],
            )
            for name, table in predictions.items()
        ),
        nonlesions=_measure_nonlesions(
            served.model,
            served.evidence,
            Input(size=built.size, crop_fraction=built.crop_fraction, pixel_path=built.pixel_path),
        ),
        precision_checks=checks,
        other_run=against.name if against else None,
        against=tuple(_compare(name, predictions[name], table) for name, table in others.items()),
    )
    return Evaluated(
        evaluation=evaluation,
        datasets=datasets,
        predictions=predictions,
        served=served,
        tests=read,
    )


def evaluate_bundle(
    uri: str, tests: Sequence[epath.Path], data: epath.Path | None = None
) -> Measured:
    """Measure a published bundle as it is served: on test sets, and on pictures without a lesion.

    Args:
        uri: folder of a bundle or a store, or s3://BUCKET/PREFIX.
        tests: data folders, cut as the bundle cuts photos. They choose nothing.
        data: the data that it was trained on. Without them, nothing tells whether a test set shares
            images with them, and baselines are fitted on the test set itself.

    Raises:
        TrainingError: a test set is cut otherwise, has another target, or shares something with
            `data`; `data` are not what it was trained on; or the graph lacks an output.
        StoreError, BundleError: as `processing.store.open.fetch_bundle`.
    """
    bundle = read_published(uri)
    manifest = bundle.manifest
    trained_on = bundle.read_training(data) if data else None
    read = [read_data(test) for test in tests]
    for test in read:
        check_fit(test, manifest.input, manifest.label.name, "the bundle")
        if trained_on:
            require_apart(test, trained_on)
    predictions = {}
    for test in read:
        _log.info("Test set %s", test.folder)
        predictions[name_test(test)] = predict_test(bundle.model, manifest, test)
    datasets = {name_test(test): test for test in read}
    _log.info("Measuring")
    evaluation = Evaluation(
        model=f"{uri}, version {manifest.version[:12]}",
        backbone=manifest.backbone,
        size=manifest.input.size,
        folds=manifest.training.get("folds_averaged"),
        weights_averaged=manifest.training.get("weights_averaged", False),
        precision=manifest.training.get("precision"),
        views=manifest.training.get("views_averaged"),
        keras_difference=None,
        target=manifest.label.name,
        separation="",
        leaks=_describe_leaks(trained_on),
        assumed_prevalence=ASSUMED_PREVALENCE,
        calibrated_prevalence=bundle.calibrated_prevalence,
        evidence=manifest,
        calibrations=(),
        judgements=tuple(
            judge(
                *(name, table, datasets[name].cases, manifest),
                folds=_FOLDS,
                training=trained_on.scored if trained_on else None,
            )
            for name, table in predictions.items()
        ),
        nonlesions=_measure_nonlesions(bundle.model, manifest, manifest.input),
        precision_checks=(),
        other_run=None,
        against=(),
    )
    return Measured(evaluation=evaluation, datasets=datasets, predictions=predictions)


def _describe_leaks(trained_on: Data | None) -> str:
    if trained_on:
        return (
            "No test set shares a patient, lesion, name or picture with the training data, as far "
            "as they are known."
        )
    return (
        "Whether a test set shares images with the training data was not checked: a bundle does "
        "not hold them. Give them with --data."
    )


def _predict_all(served: Served, tests: Sequence[Data]) -> dict[str, pd.DataFrame]:
    """Predict every data set: out of fold, and each test set."""
    predictions = {OUT_OF_FOLD: served.oof}
    for test in tests:
        _log.info("Test set %s", test.folder)
        predictions[name_test(test)] = predict_test(served.model, served.evidence, test)
    return predictions


def name_test(test: Data) -> str:
    """Return the name of a test set in reports."""
    return f"test set {test.folder.name}"


def check_precision(
    served: Served, tests: Sequence[Data], predictions: dict[str, pd.DataFrame]
) -> tuple[PrecisionCheck, ...]:
    """Compare the AUC on each test set with the AUC in float32.

    Raises:
        TrainingError: on one test set they differ by `REDUCED_TOLERANCE` or more.
    """
    checks = []
    for test in tests:
        name = name_test(test)
        _log.info("%s in float32", name)
        exact = predict_test(served.float32, served.evidence, test)
        areas = [
            auc(table["target"], table["logit"], table["group"]).value
            for table in (exact, predictions[name])
        ]
        checks.append(PrecisionCheck(dataset=name, float32=areas[0], served=areas[1]))
        if abs(areas[1] - areas[0]) >= REDUCED_TOLERANCE:
            raise TrainingError(
                f"--precision {served.precision}: on {name} the AUC is {areas[1]:.4f}, but in "
                f"float32 {areas[0]:.4f}; the difference must be below {REDUCED_TOLERANCE}. Use "
                "another --precision."
            )
    return tuple(checks)


def _compare(name: str, ours: pd.DataFrame, other: pd.DataFrame) -> AucDifference:
    both = ours.merge(other, on="image_name", suffixes=("", "_other"))
    same = len(both) == len(ours) == len(other) and (both["target"] == both["target_other"]).all()
    if not same:
        raise TrainingError(
            f"--against: {name} does not hold the same images and targets in both runs "
            f"({len(ours)} and {len(other)}, {len(both)} in both). Compare runs of one data set."
        )
    target, a, b = both["target"], both["logit"], both["logit_other"]
    return AucDifference(
        dataset=name,
        other=auc(target, b, both["group"]).value,
        bootstrap=auc_difference(target, a, b, both["group"]),
        delong=delong(target, a, b),
    )


def _measure_nonlesions(
    model: bytes, evidence: EvidenceByModality, cut: Input
) -> tuple[NonlesionCheck, ...]:
    if evidence.outliers is None:
        return ()
    pictures = list_nonlesions()
    squares = (read_square(_encode(picture.image), **dict(cut)).pixels for picture in pictures)
    outputs = run_litert(model, squares, len(pictures))
    refused = apply_evidence(outputs, evidence)["outlier"].to_numpy(bool)
    origins = np.array([picture.origin for picture in pictures])
    kinds = np.array([picture.kind for picture in pictures])
    rows = [("all", np.full(len(kinds), True))]
    rows += [(kind, kinds == kind) for kind in dict.fromkeys(kinds)]
    return tuple(
        NonlesionCheck(
            kind=str(kind),
            pictures=int(of_kind.sum()),
            refused=proportion(refused[of_kind], origins[of_kind]),
        )
        for kind, of_kind in rows
    )


def _encode(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
