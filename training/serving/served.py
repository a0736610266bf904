"""A run as it is served: the graph, and what is chosen on its out-of-fold predictions."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
from etils import epath
from numpy.typing import NDArray
from scipy.special import expit

from processing.image import DEFAULT_PATH
from processing.manifest import EvidenceByModality, Input, name_modality
from training.data.batches import check_first_records, choose_records, decode_records
from training.data.folder import BuildSettings, Data, read_data
from training.data.tfrecords import naming_damage
from training.data.vocabulary import MODALITIES, TARGETS
from training.errors import TrainingError
from training.inspect.leaks import compare_test_set, with_fingerprints
from training.recipe import TrainSettings
from training.serving.central import measure_central
from training.serving.evidence import apply_evidence, choose_evidence
from training.serving.graph import Precision, ServingGraph, run_litert
from training.serving.modality import ModalityHead, fit_modality
from training.serving.outliers import Normal, choose_fitted, fit_normal, measure_distance
from training.train.predict import read_names, tabulate
from training.train.run import KERAS_MODEL, fold_folder, is_finished, read_settings
from training.train.splits import split_folds

_log = logging.getLogger(__name__)

CHECKED_IMAGES = 64
_RANGED_IMAGES = 300  # on which int8 measures the ranges of activations


class FinishedRun(NamedTuple):
    """A run whose folds are all trained."""

    folder: Path
    settings: TrainSettings
    data: Data


class Served(NamedTuple):
    """A run's serving graph, and everything that was chosen for it."""

    run: FinishedRun
    precision: Precision
    views: int
    folds: int  # whose networks are served
    weights_averaged: bool  # in one network
    centre: float | None
    model: bytes  # LiteRT graph
    float32: bytes  # the same graph in float32
    keras_difference: float  # largest difference in probability between Keras and `float32`
    # Out of fold: `predict_cases`, fold, distance, told, and what `choose_evidence` adds.
    oof: pd.DataFrame
    evidence: EvidenceByModality


def read_finished_run(folder: Path) -> FinishedRun:
    """Read a run and its data.

    Raises:
        TrainingError: a fold is not finished, the data have changed, or the run was trained at
            another size than the data's, which cannot be served, or on squares cut otherwise.
    """
    settings = read_settings(folder)
    data = read_data(epath.Path(settings.data))
    if data.build.cases_sha256 != settings.data_sha256:
        raise TrainingError(
            f"{data.folder} is no longer the data set that {folder} was trained on."
        )
    if settings.size != data.build.settings.size:
        raise TrainingError(
            f"{folder} was trained at {settings.size} px on squares of {data.build.settings.size} "
            "px, but serving cuts photos to the size of the model. Build the data and train again "
            f"with --size {settings.size}."
        )
    for name in ("crop_fraction", "pixel_path"):
        trained, now = getattr(settings, name), getattr(data.build.settings, name)
        if trained not in (None, now):
            raise TrainingError(
                f"{folder} was trained on squares of {name} {trained}, but those of {data.folder} "
                f"have {now}. Put the data set that it was trained on back in its place."
            )
    missing = [k for k in range(settings.folds) if not is_finished(folder, k)]
    if missing:
        raise TrainingError(
            f"{folder} has not finished fold {missing[0]} of {settings.folds} (0 to "
            f"{settings.folds - 1}). Continue it with python -m training train --run {folder} "
            "--resume."
        )
    return FinishedRun(folder, settings, data)


def serve_run(
    run: FinishedRun,
    precision: Precision,
    views: int,
    folds_served: int | None = None,
    average_weights: bool = False,
    centre: float | None = None,
) -> Served:
    """Average a run's folds in one graph, and choose calibration and thresholds out of fold.

    The out-of-fold predictions are computed again by graphs of one fold each, with the precision
    and the views of the final graph.

    Args:
        folds_served: serve the networks of the first so many folds; None: of all.
        average_weights: serve one network, whose weights are the mean of theirs (as of several
            trainings from one start: Wortsman et al. 2022, arXiv:2203.05482). Calibration and
            thresholds are still those of the folds' networks: no image is left on which others
            could be chosen.
        centre: as for `training.serving.graph.ServingGraph`.

    Raises:
        TrainingError: there are fewer folds, or the converted graph does not answer as Keras does.
    """
    settings, data = run.settings, run.data
    count = settings.folds if folds_served is None else folds_served
    if not 1 <= count <= settings.folds:
        raise TrainingError(
            f"--folds-served {count}: {run.folder} has {settings.folds} folds. Give 1 to "
            f"{settings.folds}."
        )
    models, parts = [], []
    features: Features | None = None
    splits = split_folds(settings, data)
    for fold, split in splits.items():
        _log.info("Fold %d of %d, as it is served", fold, settings.folds)
        models.append(keras.models.load_model(fold_folder(run.folder, fold) / KERAS_MODEL))
        seen = split.training.sample(frac=1, random_state=0)
        model = _convert(ServingGraph(models[-1:], views, centre=centre), precision, data, seen)
        part, outputs = predict_cases(model, data, split.scored)
        if features is None:  # those of one network are enough
            features = _fit_features(model, data, seen)
            part = _describe_features(part, outputs["embedding"], features)
        parts.append(part.assign(fold=fold))
    assert features is not None
    oof = pd.concat(parts, ignore_index=True)
    models = models[:count]
    if average_weights:
        _log.info("The folds' weights in one network")
        files = [fold_folder(run.folder, fold) / KERAS_MODEL for fold in range(count)]
        models = [average_networks(files)]
        seen = splits[0].training.sample(frac=1, random_state=0)
        model = _convert(ServingGraph(models, views, centre=centre), precision, data, seen)
        # Its features are not those of the first fold. The network has seen the images of the first
        # fold, but the fit to the features has not.
        features = _fit_features(model, data, seen)
        part, outputs = predict_cases(model, data, splits[0].scored)
        part = _describe_features(part, outputs["embedding"], features).set_index("image_name")
        for name in ("distance", "told"):
            oof[name] = oof["image_name"].map(part[name])
    facts = data.cases[["image_name", "source", "modality"]]
    oof = oof.merge(facts, on="image_name", how="left", validate="one_to_one")
    plural = TARGETS[data.build.settings.target].plural
    tells_kinds = features.head is not None
    evidence, oof = choose_evidence(oof, settings.folds, plural, tells_kinds=tells_kinds)
    _log.info("%d of %d folds in one graph", count, settings.folds)
    graph = ServingGraph(models, views, evidence, features.normal, features.head, centre)
    some = data.cases.sample(frac=1, random_state=0)
    exact = graph.convert("float32")
    images = np.stack(list(_read_squares(data, some[:CHECKED_IMAGES])))
    difference = graph.compare(exact, images)
    return Served(
        run=run,
        precision=precision,
        views=views,
        folds=count,
        weights_averaged=average_weights,
        centre=centre,
        model=exact if precision == "float32" else _convert(graph, precision, data, some),
        float32=exact,
        keras_difference=difference,
        oof=oof.drop(columns=["source", "modality"]),
        evidence=evidence,
    )


def average_networks(files: Sequence[Path]) -> keras.Model:
    """Make one network whose weights, statistics included, are the mean of those in `files`."""
    models = [keras.models.load_model(file) for file in files]
    weights = zip(*(model.get_weights() for model in models), strict=True)
    # Not in a clone, whose input normalisation keeps cached constants that no weights replace.
    models[0].set_weights([_mean_of(each) for each in weights])
    return models[0]


def _mean_of(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    # The states of random generators, which serving does not use, have no mean.
    if not np.issubdtype(arrays[0].dtype, np.floating):
        return arrays[0]
    return np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype)


class Features(NamedTuple):
    """What is fitted to the features of a network."""

    normal: Normal
    head: ModalityHead | None  # None: the training images are not of both kinds


def _fit_features(model: bytes, data: Data, seen: pd.DataFrame) -> Features:
    """Fit the distance, and the head that tells the kind of photo, to images in `seen`.

    Args:
        model: graph of one network.
    """
    table, outputs = predict_cases(model, data, choose_fitted(seen))
    embedding = outputs["embedding"]
    modality = table["image_name"].map(seen.set_index("image_name")["modality"])
    kinds = [kind for kind in MODALITIES if kind in set(modality)]
    if len(kinds) < 2 or not modality.isin(kinds).all():
        return Features(fit_normal(embedding, np.zeros(len(embedding), int)), None)
    numbers = modality.map(kinds.index).to_numpy()
    head = fit_modality(embedding, (modality == "dermoscopic").to_numpy())
    return Features(fit_normal(embedding, numbers), head)


def _describe_features(
    part: pd.DataFrame, embedding: NDArray[np.floating], features: Features
) -> pd.DataFrame:
    """Add the distance of each image, and the kind that it is told for ("": it is not told)."""
    told = [""] * len(part)
    if features.head:
        logits = embedding @ features.head.weights + features.head.bias
        told = [name_modality(each) for each in expit(logits)]
    return part.assign(distance=measure_distance(embedding, features.normal), told=told)


def read_tests(tests: Sequence[epath.Path], data: Data) -> list[Data]:
    """Read test sets, and check that they share nothing with the training data.

    Raises:
        TrainingError: a test set shares an image, patient or lesion, or has another size or target.
    """
    read = [read_data(test) for test in tests]
    if read:
        data = data._replace(cases=with_fingerprints(data))
    for test in read:
        _check_test(test, data)
    return read


def predict_test(model: bytes, evidence: EvidenceByModality, test: Data) -> pd.DataFrame:
    """Predict a test set with a converted graph.

    Returns:
        The columns of `predict_cases` and those of `apply_evidence`.
    """
    table, outputs = predict_cases(model, test, test.cases)
    return pd.concat([table, apply_evidence(outputs, evidence)], axis=1)


def predict_cases(
    model: bytes, data: Data, cases: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, NDArray[np.float32]]]:
    """Run a converted graph on some images of a data folder.

    Returns:
        Columns image_name, target, group, logit and central, as `measure_central`, in the order of
        the shards; all outputs, in the same order.
    """
    with naming_damage(data.shards()):
        names = read_names(data, cases)
    outputs = run_litert(model, _read_squares(data, cases), len(cases))
    table = tabulate(names, outputs["logit"], cases)
    return table.assign(central=measure_central(outputs["cam"])), outputs


def _read_squares(data: Data, cases: pd.DataFrame) -> Iterator[NDArray[np.uint8]]:
    """Read the squares (S, S, 3) of some rows of the table of cases, in the order of the shards."""
    with naming_damage(data.shards()):
        for batch in decode_records(choose_records(data, cases), data.build.settings.size, 64):
            yield from batch["image"].numpy()


def _convert(graph: ServingGraph, precision: Precision, data: Data, cases: pd.DataFrame) -> bytes:
    """Convert a graph; int8 measures its ranges on the first of `cases`."""
    if precision != "int8":
        return graph.convert(precision)
    squares = _read_squares(data, cases[:_RANGED_IMAGES])
    return graph.convert(precision, np.stack(list(squares)))


def _check_test(test: Data, data: Data) -> None:
    built = data.build.settings
    check_fit(test, built, built.target, "the training data")
    require_apart(test, data)


def check_fit(test: Data, cut: BuildSettings | Input, target: str, whose: str) -> None:
    """Check that a test set is cut as a model's photos are, and counts the same as positive.

    Args:
        cut, target: what the model takes and counts.
        whose: who says so, for the error: "the training data" or "the bundle".

    Raises:
        TrainingError: it is not, or its first record cannot be read.
    """
    built = test.build.settings
    remedy = f"Build it again with --size {cut.size} --crop {cut.crop_fraction:g}"
    if cut.pixel_path != DEFAULT_PATH:
        remedy += f" --pixel-path {cut.pixel_path}"
    if built.size != cut.size:
        raise TrainingError(
            f"--test {test.folder} holds images of {built.size} px, but the model takes "
            f"{cut.size}. {remedy}."
        )
    for name in ("crop_fraction", "pixel_path"):
        found, expected = getattr(built, name), getattr(cut, name)
        if found != expected:
            raise TrainingError(
                f"--test {test.folder} holds squares of {name} {found}, but {whose} of {expected}, "
                f"and the model is judged on squares cut as those it is served. {remedy}."
            )
    for source, crop in built.source_crops.items():
        raise TrainingError(
            f"--test {test.folder} holds squares of {source} cut with {crop:g}, but photos are cut "
            f"for the model with {cut.crop_fraction:g}. Build the test set again without --crop "
            f"{source}={crop:g}."
        )
    if built.target != target:
        raise TrainingError(
            f"--test {test.folder} counts {built.target} as positive, but {whose} {target}. Build "
            "it again with the same --target."
        )
    check_first_records(test.shards(), built.size)


def require_apart(test: Data, data: Data) -> None:
    """Check that a test set shares no patient, lesion, name or picture with the training data.

    Raises:
        TrainingError: it does.
    """
    for check in compare_test_set(with_fingerprints(data), with_fingerprints(test), ""):
        if len(check.found):
            raise TrainingError(
                f"--test {test.folder} shares {len(check.found)} {check.what} with the training "
                f"data, first {check.found['found'].iloc[0]}. Build the training data with "
                f"--apart-from {test.folder}."
            )
