"""What a bundle's `manifest.json` says: the model, how it was measured, and its files."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SIZE = 2048  # px, side of the graph's input
# The paths of `processing.image`, whose import would delay the help of the command line.
PixelPath = Literal[1, 2, 3]
# The kinds of photo that a graph may tell apart. Their order is their code in TFRecords: append.
Modality = Literal["dermoscopic", "close-up"]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(max_length=200)]
Text = Annotated[str, Field(max_length=2000)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Estimate(_Part):
    """A measured proportion or area with its 95 % interval."""

    value: Probability
    low: Probability
    high: Probability


class Input(_Part):
    """How a photo becomes the graph's input: the arguments of `processing.image.read_square`."""

    size: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    crop_fraction: Annotated[float, Field(gt=0, le=1)]
    pixel_path: PixelPath = 2


class Label(_Part):
    """What `malignant` means for this model."""

    name: Name
    covers: Text
    not_covered: Text


class OperatingPoint(_Part):
    """A threshold on the calibrated probability, and how it performs on `measured_on`."""

    name: Name
    threshold: Probability
    sensitivity: Estimate
    specificity: Estimate
    measured_on: Text
    images: Count | None = None  # None: only `measured_on` tells, if anything does
    positives: Count | None = None


class Calibration(_Part):
    """probability = sigmoid(slope * logit + intercept), already inside the graph (Platt 1999)."""

    slope: float
    intercept: float
    fitted_on: Text


class Outliers(_Part):
    """Distance above which a photo is rejected as not a lesion."""

    threshold: Annotated[float, Field(gt=0)]
    refused: Estimate  # share of held-out lesions above the threshold
    measured_on: Text


class Metric(_Part):
    """One figure on one data set."""

    name: Name
    dataset: Text
    estimate: Estimate
    interval_method: Text
    images: Count
    positives: Count


class FileEntry(_Part):
    """The expected hash and size of a file."""

    sha256: Sha256
    size_bytes: Count


class Evidence(_Part):
    """What was chosen on held-out photos, and how it performs on them."""

    operating_points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1, max_length=50)]
    operating_point: Name  # name of the one that decides the label
    calibration: Calibration
    outliers: Outliers | None = None  # None: the graph has no distance, no photo is rejected
    # Shares of held-out lesions in equal bins of the probability, to compare the scores in service
    # with.
    scores: Annotated[tuple[Probability, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _operating_point_is_listed(self) -> "Evidence":
        names = [point.name for point in self.operating_points]
        if self.operating_point not in names:
            raise ValueError(f"operating_point {self.operating_point!r} is none of {names}")
        return self

    @property
    def in_force(self) -> OperatingPoint:
        """The operating point that decides the label."""
        return next(p for p in self.operating_points if p.name == self.operating_point)


class EvidenceByModality(Evidence):
    """The evidence of all photos together, and of kinds of photo alone, which takes its place."""

    modalities: dict[Modality, Evidence] = {}  # empty where the graph does not tell kinds apart

    def choose(self, modality: Modality | None) -> Evidence:
        """Return the evidence that holds for a kind of photo; None: it is not known."""
        return self.modalities.get(modality, self) if modality else self

    def list_held(self) -> list[Evidence]:
        """List the evidence that decides on photos: of each kind, or else of all photos."""
        return list(self.modalities.values()) or [self]


class Description(EvidenceByModality):
    """What the author of a model states about it; `Manifest` adds what is derived."""

    backbone: Name
    input: Input
    label: Label
    metrics: Annotated[tuple[Metric, ...], Field(max_length=1000)]
    licence: Text
    attribution: Annotated[tuple[Text, ...], Field(max_length=1000)]
    training: dict[str, Any]


class Manifest(Description):
    """`manifest.json`."""

    format_version: Literal[1, 2]
    version: Sha256
    created: datetime
    files: dict[str, FileEntry]


def name_modality(dermoscopic: float) -> Modality:
    """Name the kind of a photo from the graph's output `modality`, 0..1."""
    return "dermoscopic" if dermoscopic >= 0.5 else "close-up"
