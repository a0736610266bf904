"""A published bundle as it is served: its graph and its promises, without the run that made it."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from ai_edge_litert.interpreter import Interpreter
from etils import epath

from processing.bundle import SIGNATURE, BundleError
from processing.manifest import Manifest
from processing.store.open import fetch_bundle
from training.data.folder import Data, read_data
from training.errors import TrainingError
from training.serving.graph import run_litert

_OUT_OF_FOLD = "out-of-fold"  # the data set, in the manifest, whose images chose the calibration


class Published(NamedTuple):
    """A bundle that was read and verified."""

    uri: str
    manifest: Manifest
    model: bytes  # LiteRT graph

    @property
    def calibrated_prevalence(self) -> float | None:
        """Share of positives among the images that calibration was fitted on, if it is known."""
        shares = [
            m.positives / m.images for m in self.manifest.metrics if m.dataset == _OUT_OF_FOLD
        ]
        return shares[0] if shares else None

    def read_training(self, folder: epath.Path) -> Data:
        """Read the data that the bundle was trained on.

        Raises:
            TrainingError: the folder cannot be read, or holds other data, as far as the bundle
                tells.
        """
        data = read_data(folder)
        stated = self.manifest.training.get("data", {})
        for name in ("cases_sha256", "images", "positives"):
            there, here = stated.get(name), getattr(data.build, name)
            if there not in (None, here):
                raise TrainingError(
                    f"--data {folder} is not what {self.uri} was trained on: {name} {there} there, "
                    f"{here} here. Give its own training data, or leave --data out."
                )
        return data


def read_published(uri: str) -> Published:
    """Read and verify a bundle, and check that its graph answers as it did when it was exported.

    Args:
        uri: folder of a bundle or a store, of which the current version is read, or
            s3://BUCKET/PREFIX.

    Raises:
        StoreError, BundleError: as `processing.store.open.fetch_bundle`.
        BundleError: the graph lacks an output that is needed, or does not give its golden answers.
    """
    with tempfile.TemporaryDirectory() as cache:
        bundle = fetch_bundle(uri, Path(cache))
        model = bundle.model_path.read_bytes()
        manifest = bundle.manifest
        needed = {"probability", "logit"}
        needed |= {"distance"} if manifest.outliers else set()
        needed |= {"modality"} if manifest.modalities else set()
        if missing := sorted(needed - _list_outputs(model, uri)):
            raise BundleError(
                f"{uri}: the graph has no output {missing[0]!r}, which the evaluation needs; it "
                f"has {', '.join(sorted(_list_outputs(model, uri)))}. Export the model again."
            )
        bundle.check_golden(lambda images: run_litert(model, images, len(images))["probability"])
    return Published(uri, bundle.manifest, model)


def _list_outputs(model: bytes, uri: str) -> set[str]:
    try:
        runner = Interpreter(model_content=model).get_signature_runner(SIGNATURE)
    except (ValueError, RuntimeError, KeyError) as error:
        raise BundleError(
            f"{uri}: the graph cannot be served: {error}. Export the model again."
        ) from error
    return set(runner.get_output_details())
