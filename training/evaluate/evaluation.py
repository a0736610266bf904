"""How good a run is as it is served: out of fold, on test sets, on pictures without a lesion."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from etils import epath
from PIL import Image

from processing.bundle import Estimate, OperatingPoint
from processing.image import read_square
from training.data.folder import Data
from training.errors import TrainingError
from training.evaluate.figures import Judgement, judge
from training.evaluate.nonlesions import list_nonlesions
from training.metrics.intervals import DeLong, Difference, auc, auc_difference, delong, proportion
from training.serving.calibration import OPERATING_POINT, CalibrationCheck, compare_calibrations
from training.serving.graph import Precision, run_litert
from training.serving.served import Served, predict_test, read_finished_run, read_tests, serve_run
from training.strict import StrictModel

_log = logging.getLogger(__name__)

OUT_OF_FOLD = "out-of-fold"
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

    run: str
    backbone: str
    size: int
    folds: int
    precision: Precision
    views: int
    keras_difference: float  # largest difference in probability between Keras and float32 graph
    operating_points: tuple[OperatingPoint, ...]
    operating_point: str  # name of the one that decides the label
    calibrations: tuple[CalibrationCheck, ...]
    judgements: tuple[Judgement, ...]
    nonlesions: tuple[NonlesionCheck, ...]
    precision_checks: tuple[PrecisionCheck, ...]
    other_run: str | None
    against: tuple[AucDifference, ...]


class Evaluated(NamedTuple):
    """An evaluation and what it was computed from."""

    evaluation: Evaluation
    served: Served
    tests: list[Data]
    predictions: dict[str, pd.DataFrame]  # by data set


def evaluate_run(
    run: Path,
    tests: Sequence[epath.Path],
    precision: Precision = "float32",
    views: int = 1,
    against: Path | None = None,
) -> Evaluated:
    """Measure a run as it is served: out of fold, on test sets, and on pictures without a lesion.

    Args:
        tests: data folders that share nothing with the training data. They choose nothing.
        precision: of the served graph.
        views: number of orientations that the served graph averages.
        against: another run to compare with, trained on the same images.

    Raises:
        TrainingError: a fold is not finished, a test set shares something with the training data,
            or a reduced precision changes an AUC by `REDUCED_TOLERANCE` or more.
    """
    finished = read_finished_run(run)
    read = read_tests(tests, finished.data)
    other_run = read_finished_run(against) if against else None
    if other_run:
        read_tests(tests, other_run.data)
    served = serve_run(finished, precision, views)
    predictions = _predict_all(served, read)
    checks = check_precision(served, read, predictions) if precision != "float32" else ()
    others = {}
    if other_run:
        _log.info("Other run: %s", against)
        others = _predict_all(serve_run(other_run, precision, views), read)
    cases = {OUT_OF_FOLD: finished.data.cases} | {name_test(test): test.cases for test in read}
    _log.info("Measuring")
    settings = finished.settings
    evaluation = Evaluation(
        run=run.name,
        backbone=settings.backbone,
        size=settings.size,
        folds=settings.folds,
        precision=precision,
        views=views,
        keras_difference=served.keras_difference,
        operating_points=served.points,
        operating_point=OPERATING_POINT,
        calibrations=tuple(compare_calibrations(served.oof)),
        judgements=tuple(
            judge(name, table, cases[name], served.points, OPERATING_POINT, settings.folds)
            for name, table in predictions.items()
        ),
        nonlesions=tuple(_measure_nonlesions(served)),
        precision_checks=checks,
        other_run=against.name if against else None,
        against=tuple(_compare(name, predictions[name], table) for name, table in others.items()),
    )
    return Evaluated(evaluation, served, read, predictions)


def _predict_all(served: Served, tests: Sequence[Data]) -> dict[str, pd.DataFrame]:
    """Predict every data set: out of fold, and each test set."""
    predictions = {OUT_OF_FOLD: served.oof}
    for test in tests:
        _log.info("Test set %s", test.folder)
        predictions[name_test(test)] = predict_test(served, test)
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
        exact = predict_test(served, test, served.float32)
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


def _measure_nonlesions(served: Served) -> list[NonlesionCheck]:
    pictures = list_nonlesions()
    settings = served.run.data.build.settings
    squares = (
        read_square(
            _encode(picture.image),
            size=settings.size,
            crop_fraction=settings.crop_fraction,
            pixel_path=settings.pixel_path,
        ).pixels
        for picture in pictures
    )
    outputs = run_litert(served.model, squares, len(pictures))
    refused = outputs["distance"] > served.outlier_threshold
    origins = np.array([picture.origin for picture in pictures])
    kinds = np.array([picture.kind for picture in pictures])
    rows = [("all", np.full(len(kinds), True))]
    rows += [(kind, kinds == kind) for kind in dict.fromkeys(kinds)]
    return [
        NonlesionCheck(
            kind=str(kind),
            pictures=int(of_kind.sum()),
            refused=proportion(refused[of_kind], origins[of_kind]),
        )
        for kind, of_kind in rows
    ]


def _encode(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
