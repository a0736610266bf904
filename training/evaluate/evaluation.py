"""How good a run is as it is served: out of fold, on test sets, and on photos of no lesion."""

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
REDUCED_TOLERANCE = 0.002  # of AUC, that a reduced precision may cost on any set


class NonlesionCheck(StrictModel):
    """Of pictures that are no lesions, the part that is refused."""

    kind: str
    pictures: int
    refused: Estimate


class PrecisionCheck(StrictModel):
    """AUC of one set in float32 and in the precision that serves."""

    dataset: str
    float32: float
    served: float


class AucDifference(StrictModel):
    """AUC less that of another run, on the same images."""

    dataset: str
    other: float  # its AUC
    bootstrap: Difference
    delong: DeLong


class Evaluation(StrictModel):
    """metrics.json."""

    run: str
    backbone: str
    size: int
    folds: int
    precision: Precision
    views: int
    keras_difference: float  # of the graph in float32, on `CHECKED_IMAGES` training images
    operating_points: tuple[OperatingPoint, ...]
    operating_point: str  # the one in force
    calibrations: tuple[CalibrationCheck, ...]
    judgements: tuple[Judgement, ...]
    nonlesions: tuple[NonlesionCheck, ...]
    precision_checks: tuple[PrecisionCheck, ...]
    other_run: str | None
    against: tuple[AucDifference, ...]


class Evaluated(NamedTuple):
    """An evaluation and what it was made of."""

    evaluation: Evaluation
    served: Served
    tests: list[Data]
    predictions: dict[str, pd.DataFrame]  # of each set of images


def evaluate_run(
    run: Path,
    tests: Sequence[epath.Path],
    precision: Precision = "float32",
    views: int = 1,
    against: Path | None = None,
) -> Evaluated:
    """Measure a run as it is served: out of fold, on test sets, and on pictures of no lesion.

    Args:
        tests: data folders that share nothing with the training data; they choose nothing.
        against: another run to compare with, of the same images.

    Raises:
        TrainingError: the run is not whole, a test set is not apart, or a reduced precision costs
            more than `REDUCED_TOLERANCE` of AUC.
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
        _log.info("The run to compare with, %s", against)
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
    """Gather predictions by the name of their images: out of fold, and of each test set."""
    predictions = {OUT_OF_FOLD: served.oof}
    for test in tests:
        _log.info("Test set %s", test.folder)
        predictions[name_test(test)] = predict_test(served, test)
    return predictions


def name_test(test: Data) -> str:
    """What a test set is called in reports."""
    return f"test set {test.folder.name}"


def check_precision(
    served: Served, tests: Sequence[Data], predictions: dict[str, pd.DataFrame]
) -> tuple[PrecisionCheck, ...]:
    """Compare the AUC of each test set with the one in float32.

    Raises:
        TrainingError: on one of them it differs by `REDUCED_TOLERANCE` or more.
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
                f"--precision {served.precision}: on {name} the AUC is {areas[1]:.4f}, in float32 "
                f"{areas[0]:.4f}; less than {REDUCED_TOLERANCE} of difference is allowed. Use "
                "another --precision."
            )
    return tuple(checks)


def _compare(name: str, ours: pd.DataFrame, theirs: pd.DataFrame) -> AucDifference:
    both = ours.merge(theirs, on="image_name", suffixes=("", "_other"))
    same = len(both) == len(ours) == len(theirs) and (both["target"] == both["target_other"]).all()
    if not same:
        raise TrainingError(
            f"--against: {name} does not hold the same images and targets in both runs "
            f"({len(ours)} and {len(theirs)}, {len(both)} in both). Compare runs on one data set."
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
