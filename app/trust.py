"""How good the model is on a kind of photo, for people: on photos it had never seen first."""

from typing import NamedTuple

from flask_babel import lazy_gettext

from processing.manifest import Estimate, Manifest, Metric, Modality

PREVALENCE = 0.01  # of melanoma among the spots that people look at; an example, not a measurement
_HELD_OUT = "out-of-fold"
_ = lazy_gettext
# A manifest names a test set as its folder is called; these are the Makefile's.
_TEST_SETS = {"isic2017-test": _("ISIC 2017 test set"), "isic2020-part": _("part of ISIC 2020")}


class Record(NamedTuple):
    """How the label did on one set of photos."""

    sensitivity: Estimate
    specificity: Estimate
    measured_on: str  # as the manifest names it: English, or the name of a test set
    unseen: bool  # neither the model nor its thresholds were made with these photos
    images: int | None = None  # None: only `measured_on` says how many
    positives: int | None = None

    @property
    def flagged_rightly(self) -> Estimate:
        """The share of melanomas among what is flagged, where `PREVALENCE` of all are melanomas."""
        return Estimate(
            value=_find_share(self.sensitivity.value, self.specificity.value),
            low=_find_share(self.sensitivity.low, self.specificity.low),
            high=_find_share(self.sensitivity.high, self.specificity.high),
        )


def list_records(manifest: Manifest, kind: Modality | None) -> list[Record]:
    """List what was measured on photos of a kind, the best evidence first.

    First come the test sets, the largest ahead. A manifest does not say of which kind they are; the
    collections that are published as test sets are dermoscopic, so that none speaks for close-ups.
    """
    found: dict[str, dict[str, Metric]] = {}
    for metric in sorted(manifest.metrics, key=lambda metric: metric.images, reverse=True):
        if metric.dataset != _HELD_OUT and kind != "close-up":
            found.setdefault(metric.dataset, {})[metric.name] = metric
    records = [
        Record(
            sensitivity=metrics["sensitivity"].estimate,
            specificity=metrics["specificity"].estimate,
            measured_on=dataset.removeprefix("test set "),
            unseen=True,
            images=metrics["sensitivity"].images,
            positives=metrics["sensitivity"].positives,
        )
        for dataset, metrics in found.items()
        if {"sensitivity", "specificity"} <= metrics.keys()
    ]
    point = manifest.choose(kind).in_force
    held_out = Record(
        point.sensitivity,
        point.specificity,
        point.measured_on,
        unseen=False,
        images=point.images,
        positives=point.positives,
    )
    return [*records, held_out]


def describe_test_set(name: str) -> str:
    """Tell what a test set is, in the visitor's language, if it is known."""
    return str(_TEST_SETS.get(name, name))


def _find_share(sensitivity: float, specificity: float) -> float:
    found = sensitivity * PREVALENCE
    mistaken = (1 - specificity) * (1 - PREVALENCE)
    return found / (found + mistaken) if found + mistaken else 0.0
