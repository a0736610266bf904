import io
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import expit, logit

from app.classifier import Classifier
from processing.bundle import GOLDEN, MODEL, ORIENTATIONS, VIEWS, Bundle, BundleError, orient
from processing.drawing import draw_lesion
from processing.manifest import Calibration, EvidenceByModality
from tests.bundles import repack
from tests.conftest import DESCRIPTION
from training.errors import TrainingError
from training.model.network import build_model
from training.serving.graph import ServingGraph, run_litert, weigh_locations
from training.serving.modality import ModalityHead
from training.serving.outliers import Normal, measure_distance

IMAGES = np.stack([draw_lesion(seed, 64, irregular=seed % 2 == 0) for seed in range(8)])
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def models(whole_run: Path) -> list[keras.Model]:
    return [keras.models.load_model(whole_run / f"fold{k}" / "model.keras") for k in (0, 1)]


@pytest.fixture(scope="module")
def plain(models: list[keras.Model]) -> ServingGraph:
    """The graph of one fold and one view."""
    return ServingGraph(models[:1])


@pytest.fixture(scope="module")
def converted(plain: ServingGraph) -> bytes:
    return plain.convert("float32")


def calibrated(slope: float, intercept: float, threshold: float = 0.5) -> EvidenceByModality:
    calibration = Calibration(slope=slope, intercept=intercept, fitted_on="nothing")
    points = [
        each.model_copy(update={"threshold": threshold}) for each in DESCRIPTION.operating_points
    ]
    return DESCRIPTION.model_copy(
        update={"calibration": calibration, "operating_points": tuple(points)}
    )


def draw_head(plain: ServingGraph) -> ModalityHead:
    """A head that takes some of the images for one kind of photo and some for the other."""
    embedding = plain.serve(IMAGES)["embedding"].numpy()
    weights = RNG.normal(size=embedding.shape[1]).astype(np.float32)
    return ModalityHead(weights, -float(np.median(embedding @ weights)))


@pytest.mark.parametrize("views", [1, 4])
def test_folds_and_views_are_averaged(models: list[keras.Model], views: int) -> None:
    expected = np.mean(
        [
            model.predict(orient(IMAGES, k).astype(np.float32), verbose=0)[:, 0]
            for model in models
            for k in VIEWS[views]
        ],
        axis=0,
    )
    graph = ServingGraph(models, views, calibrated(0.5, -1.0))
    answers = run_litert(graph.convert("float32"), IMAGES, len(IMAGES))
    assert answers["logit"] == pytest.approx(expected, abs=1e-3)
    assert answers["probability"] == pytest.approx(1 / (1 + np.exp(1 - expected / 2)), abs=1e-4)
    by_view = answers["by_view"]
    assert by_view.shape == (len(IMAGES), views)
    logits = 2 * (np.log(by_view / (1 - by_view)) + 1)
    assert logits.mean(axis=1) == pytest.approx(expected, abs=1e-3)


def test_what_is_in_the_centre_counts_more() -> None:
    keras.utils.set_random_seed(0)
    model = build_model("EfficientNetLite0", 128, "none")
    features = keras.Model(model.input, model.get_layer("embedding").input)
    images = np.stack([draw_lesion(seed, 128, irregular=True) for seed in range(2)])
    by_location = features.predict(images.astype(np.float32), verbose=0)  # (2, 4, 4, 1280)
    kernel, bias = model.get_layer("logit").get_weights()
    weights = weigh_locations(4, 4, 0.6)
    added = (by_location @ kernel)[..., 0] * weights
    graph = ServingGraph([model], centre=0.6)
    answers = run_litert(graph.convert("float32"), images, len(images))
    assert answers["cam"] == pytest.approx(added, abs=1e-4)
    assert answers["logit"] == pytest.approx(added.mean(axis=(1, 2)) + bias, abs=1e-4)
    evenly = ServingGraph([model]).serve(images)["logit"].numpy()
    assert np.abs(answers["logit"] - evenly).min() > 1e-3


def test_the_weights_of_locations_fall_as_a_gaussian_does_and_have_a_mean_of_one() -> None:
    weights = weigh_locations(7, 5, 0.6)
    assert weights.mean() == pytest.approx(1)
    assert weights[0, 2] / weights[3, 2] == pytest.approx(np.exp(-0.5 / 0.6**2))
    assert weights[3, 4] / weights[3, 2] == pytest.approx(np.exp(-0.5 / 0.6**2))
    assert weigh_locations(1, 1, 0.6) == pytest.approx(1)


@pytest.mark.parametrize("views", VIEWS)
def test_the_views_of_a_photo_in_few_orientations_are_all_eight(
    models: list[keras.Model], views: int
) -> None:
    graph = ServingGraph(models, views)
    given = [graph.serve(orient(IMAGES, k))["logit"].numpy() for k in range(ORIENTATIONS // views)]
    everything = ServingGraph(models, ORIENTATIONS).serve(IMAGES)["logit"].numpy()
    assert np.mean(given, axis=0) == pytest.approx(everything, abs=1e-4)


def test_a_converted_graph_that_answers_or_decides_differently_is_refused(
    models: list[keras.Model], plain: ServingGraph, converted: bytes
) -> None:
    probability = run_litert(converted, IMAGES, len(IMAGES))["probability"]
    assert plain.compare(converted, IMAGES) < 1e-4
    shifted = ServingGraph(models[:1], evidence=calibrated(1, 0.02, threshold=0.99))
    with pytest.raises(TrainingError, match=r"differs .* by up to 0.00\d+ in .* on 8 images"):
        shifted.compare(converted, IMAGES)
    # Within the tolerance, but on the other side of a threshold that lies between.
    between = float(probability[0] + 1e-3 * probability[0] * (1 - probability[0]))
    shifted = ServingGraph(models[:1], evidence=calibrated(1, 0.002, threshold=between))
    with pytest.raises(TrainingError, match="decides 1 of them differently"):
        shifted.compare(converted, IMAGES)


def test_the_map_of_eight_views_turns_with_the_photo(models: list[keras.Model]) -> None:
    graph = ServingGraph(models, 8)
    for k in (1, 4, 7):
        there = graph.serve(IMAGES)["cam"].numpy()[..., None]
        here = graph.serve(orient(IMAGES, k))["cam"].numpy()[..., None]
        assert here == pytest.approx(orient(there, k), abs=1e-3)


def test_the_distance_in_the_graph_is_that_of_its_embedding(
    models: list[keras.Model], plain: ServingGraph
) -> None:
    width = plain.serve(IMAGES)["embedding"].shape[1]
    normal = Normal(
        RNG.normal(size=(2, width)).astype(np.float32),
        RNG.normal(size=(width, width)).astype(np.float32) / width**0.5,
    )
    graph = ServingGraph(models[:1], normal=normal)
    answers = run_litert(graph.convert("float32"), IMAGES, len(IMAGES))
    assert answers["distance"] == pytest.approx(
        measure_distance(answers["embedding"], normal), rel=1e-3
    )


def test_the_kind_that_the_graph_tells_decides_on_the_calibration(
    models: list[keras.Model], plain: ServingGraph
) -> None:
    head = draw_head(plain)
    evidence = calibrated(1, 0).model_copy(
        update={"modalities": {"dermoscopic": calibrated(2, 1), "close-up": calibrated(0.5, -1)}}
    )
    graph = ServingGraph(models[:1], 2, evidence, head=head)
    answers = run_litert(graph.convert("float32"), IMAGES, len(IMAGES))
    dermoscopic = answers["modality"] >= 0.5
    assert 0 < dermoscopic.sum() < len(IMAGES)
    slope, intercept = np.where(dermoscopic, 2, 0.5), np.where(dermoscopic, 1, -1)
    expected = expit(slope * answers["logit"] + intercept)
    assert answers["probability"] == pytest.approx(expected, abs=1e-4)
    by_view = logit(answers["by_view"]).mean(axis=1)
    assert by_view == pytest.approx(slope * answers["logit"] + intercept, abs=1e-3)
    plain_cam = ServingGraph(models[:1], 2).serve(IMAGES)["cam"].numpy()
    assert answers["cam"] == pytest.approx(slope[:, None, None] * plain_cam, abs=1e-3)


def test_each_precision_is_smaller_and_close(plain: ServingGraph, converted: bytes) -> None:
    logits = run_litert(converted, IMAGES, len(IMAGES))["logit"]
    for precision, part, tolerance in (("float16", 0.55, 0.1), ("int8", 0.35, 1.0)):
        model = plain.convert(precision, IMAGES)  # type: ignore[arg-type]
        outputs = run_litert(model, IMAGES, len(IMAGES))
        # Not rounded on the way from the one to the other.
        assert outputs["probability"] == pytest.approx(expit(outputs["logit"]), abs=1e-5)
        assert len(model) < part * len(converted)
        assert run_litert(model, IMAGES, len(IMAGES))["logit"] == pytest.approx(
            logits, abs=tolerance
        )


def test_images_come_back_in_their_order(converted: bytes) -> None:
    order = RNG.permutation(8)
    together = run_litert(converted, IMAGES, 8)["logit"]
    assert run_litert(converted, (IMAGES[i] for i in order), 8)["logit"] == pytest.approx(
        together[order], abs=1e-5
    )


def test_the_app_refuses_a_graph_without_the_distance_that_its_manifest_needs(
    converted: bytes, bundle: Bundle, tmp_path: Path
) -> None:
    assert bundle.manifest.outliers
    other = repack(bundle, tmp_path / "bundle", {MODEL: converted})
    with pytest.raises(BundleError, match="not a graph that can be served"):
        Classifier(other, threads=1)


def test_the_app_judges_a_photo_by_the_evidence_of_its_kind(
    models: list[keras.Model], plain: ServingGraph, bundle: Bundle, tmp_path: Path
) -> None:
    head = draw_head(plain)
    kinds = {"dermoscopic": calibrated(1, 0, 0.2), "close-up": calibrated(1, 0, 0.999)}
    evidence = calibrated(1, 0).model_copy(update={"modalities": kinds})
    graph = ServingGraph(models[:1], evidence=evidence, head=head).convert("float32")
    images, _ = bundle.read_golden()
    golden = io.BytesIO()
    np.savez(
        golden, images=images, probability=run_litert(graph, images, len(images))["probability"]
    )
    other = repack(
        bundle,
        tmp_path / "bundle",
        {MODEL: graph, GOLDEN: golden.getvalue()},
        modalities=kinds,
        outliers=None,
    )
    classifier = Classifier(other, threads=1)
    photos = [classifier.classify(image[None])[0] for image in IMAGES]
    assert {photo.modality for photo in photos} == {"dermoscopic", "close-up"}
    for photo in photos:
        assert photo.threshold == {"dermoscopic": 0.2, "close-up": 0.999}[str(photo.modality)]
        assert photo.malignant == (photo.probability >= photo.threshold)
