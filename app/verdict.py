"""The verdict: what a score means for the person who sent the photo.

`low` is below the threshold of the operating point in force, where the label is `benign`. `high`
begins at the most specific operating point of the photo's own kind. What lies between, and each
photo whose orientations disagree about the label, is `middle`. So both limits were chosen on
held-out photos, and docs/serving.md says how many fall into each zone.
"""

from typing import Literal

import numpy as np

from processing.manifest import Evidence

Verdict = Literal["high", "middle", "low"]
_URGENT = 0.5  # probability from which a spot should be seen within days


def find_high_threshold(evidence: Evidence) -> float:
    """Return the probability from which the verdict is `high`: the largest of the thresholds."""
    return max(point.threshold for point in evidence.operating_points)


def reach_verdict(probability: float, evidence: Evidence, *, uncertain: bool) -> Verdict:
    """Return the verdict on a photo.

    Args:
        probability: calibrated, 0..1.
        evidence: of the photo's own kind.
        uncertain: some orientations of the photo reach the threshold and others don't.
    """
    if uncertain:
        return "middle"
    return name_zone(probability, evidence.in_force.threshold, find_high_threshold(evidence))


def name_zone(probability: float, threshold: float, high_threshold: float) -> Verdict:
    """Return the verdict to which a probability alone belongs."""
    if probability >= high_threshold:
        return "high"
    return "middle" if probability >= threshold else "low"


def is_urgent(probability: float) -> bool:
    """Whether a `high` probability asks for a doctor within days, not weeks."""
    return probability >= _URGENT


def is_stable(low: float, high: float, threshold: float, high_threshold: float) -> bool:
    """Whether the advice is the same for the lowest and the highest probability of a photo."""
    advice = [(name_zone(each, threshold, high_threshold), is_urgent(each)) for each in (low, high)]
    return advice[0] == advice[1]


def place_on_scale(probability: float, threshold: float, high_threshold: float) -> float:
    """Return the place of a probability, 0..100, on a scale of three zones of equal width."""
    limits = (0, threshold, high_threshold, 1)
    return float(np.interp(probability, limits, (0, 100 / 3, 200 / 3, 100)))
