"""Publication of bundles: the checks before one becomes current, and the list of a store."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from processing.bundle import SIGNATURE, Bundle, read_bundle
from processing.manifest import Manifest, Metric
from processing.store.base import Pointer
from processing.store.open import open_store
from training.errors import TrainingError
from training.text import render_estimate

_TEST = "test set "
# The first model of a store has none to be compared with. 0.75 is what a patient's identity alone
# reaches on ISIC 2020 where folds are not kept apart by patients.
_LOWEST_AUC = 0.75


def publish(
    folder: Path, uri: str, test: str | None, reason: str, progress: Callable[[int], object]
) -> str:
    """Check the bundle in `folder`, store it at `uri`, make it current, and return its version.

    Args:
        test: name of the test set on which its AUC must not be below that of the current version,
            and in an empty store have an interval above `_LOWEST_AUC`; None: every test set that
            either of them was measured on.
        reason: why to publish it although it is worse, or not known to be good enough; recorded
            with the version. "": it must be good enough.
        progress: called with the number of bytes just uploaded.

    Raises:
        TrainingError: the AUC is too low or unknown.
        BundleError: the graph does not give its golden answers.
        BundleError, StoreError: as `processing.store.base.Store.publish`.
    """
    bundle = read_bundle(folder)
    check_golden(bundle)

    def check(current: Manifest | None) -> None:
        if reason:
            return
        if current is None:
            _check_good(bundle.manifest, uri, test)
        else:
            _check_as_good(bundle.manifest, current, test)

    return open_store(uri).publish(folder, progress, note=reason, check=check)


def check_golden(bundle: Bundle) -> None:
    """Check that the graph can be run here and gives its golden answers.

    Raises:
        BundleError: it cannot, or does not.
    """
    from ai_edge_litert.interpreter import Interpreter  # slow to import: `models` need not wait

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        serve = Interpreter(str(bundle.model_path)).get_signature_runner(SIGNATURE)
        return np.array([serve(images=image[None])["probability"][0] for image in images])

    bundle.check_golden(answer)


def _check_good(new: Manifest, uri: str, test: str | None) -> None:
    aucs = _test_aucs(new)
    remedy = "To publish it anyway, give --force with the reason."
    if not aucs or (test and test not in aucs):
        raise TrainingError(
            f"{uri} is empty, and the bundle was not measured on "
            + (f"test set {test}" if test else "a test set")
            + ", so it is not known whether it is any good. Export the bundle with --test. "
            + remedy
        )
    for name in [test] if test else aucs:
        estimate = aucs[name].estimate
        if estimate.low <= _LOWEST_AUC:
            raise TrainingError(
                f"{uri} is empty, and on test set {name} the bundle has an AUC of "
                f"{render_estimate(estimate)}: the lower bound must be above {_LOWEST_AUC}. "
                f"{remedy}"
            )


def _check_as_good(new: Manifest, current: Manifest, test: str | None) -> None:
    new_aucs, current_aucs = _test_aucs(new), _test_aucs(current)
    remedy = "To publish it anyway, give --force with the reason."
    named = [test] if test else list(dict.fromkeys([*current_aucs, *new_aucs]))
    if not named:
        raise TrainingError(
            "Neither the bundle nor the current version was measured on a test set, so it is not "
            f"known which is better. Export the bundle with --test. {remedy}"
        )
    for name in named:
        for what, aucs in (("The bundle", new_aucs), ("The current version", current_aucs)):
            if name not in aucs:
                raise TrainingError(
                    f"{what} was not measured on test set {name}, only on "
                    f"{', '.join(aucs) or 'none'}. Give --test a test set that both were measured "
                    f"on, or export with --test {name}. {remedy}"
                )
        here, there = new_aucs[name], current_aucs[name]
        if (here.images, here.positives) != (there.images, there.positives):
            raise TrainingError(
                f"Test set {name} has {here.images} images in the bundle's figures and "
                f"{there.images} in those of the current version: they differ. {remedy}"
            )
        if here.estimate.value < there.estimate.value:
            raise TrainingError(
                f"On test set {name} the bundle has an AUC of {here.estimate.value:.4f}, the "
                f"current version {there.estimate.value:.4f}. {remedy}"
            )


def _test_aucs(manifest: Manifest) -> dict[str, Metric]:
    return {
        metric.dataset.removeprefix(_TEST): metric
        for metric in manifest.metrics
        if metric.name == "AUC" and metric.dataset.startswith(_TEST)
    }


class StoredModel(NamedTuple):
    """A version in a store."""

    manifest: Manifest
    place: str  # "current", "1 back" if a rollback would make it current, and so on, or ""
    note: str  # why it was forced

    @property
    def aucs(self) -> dict[str, Metric]:
        """The AUC on each test set."""
        return _test_aucs(self.manifest)


def list_models(uri: str) -> list[StoredModel]:
    """List the versions in a store: the current one, then those before it, then all others.

    Raises:
        StoreError: the store cannot be read, or nothing was published there.
    """
    store = open_store(uri)
    pointer: Pointer = store.read_pointer()
    history = pointer.history[::-1]
    places = {each.version: (f"{i} back", each.note) for i, each in reversed([*enumerate(history)])}
    places[pointer.version] = ("current", pointer.note)
    others = [version for version in store.list_versions() if version not in places]
    ordered = [*dict.fromkeys(each.version for each in history), *others[::-1]]
    return [
        StoredModel(store.read_manifest(version), *places.get(version, ("", "")))
        for version in ordered
    ]
