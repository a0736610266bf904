"""The shapes of the API's answers, of which its description in OpenAPI is made."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.answer import Label, Reason
from processing.bundle import Estimate, Probability
from processing.bundle import Label as LabelMeaning


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(_Shape):
    """A fault (RFC 9457). Programs may rely on `type`; the texts speak the asked language."""

    type: str = Field(examples=["/problems/image-missing"])
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str = Field(description="What is wrong and what to do.")
    request_id: str = Field(description="The same as in the header X-Request-ID.")


class Stability(_Shape):
    """Lowest and highest probability over the eight orientations of the photo."""

    low: Probability
    high: Probability


class ImageAnswer(_Shape):
    """What is said of one photo."""

    name: str = Field(description="Of the file as it was sent, without folders.")
    assessable: bool = Field(description="Whether the photo can be judged; else see `reasons`.")
    label: Label | None
    probability: Probability | None = Field(description="Calibrated, that the label is malignant.")
    threshold: Probability = Field(description="From which probability on it is malignant.")
    stability: Stability | None = Field(description="Where it was asked for.")
    uncertain: bool = Field(
        description="Some orientations of the photo reach the threshold and others don't."
    )
    heatmap: str | None = Field(
        description="What the probability is based on: a PNG to lay over the photo's centre "
        "square, as a data URI."
    )
    reasons: list[Reason] = Field(description="Why the photo cannot be judged.")


class ImageProblem(_Shape):
    """One of several photos that cannot be read."""

    name: str
    error: Problem


class ModelFacts(_Shape):
    """The model that answered."""

    version: str = Field(description="SHA-256 of its files.")
    label: LabelMeaning
    threshold: Probability
    sensitivity: Estimate
    specificity: Estimate
    measured_on: str


class Answers(_Shape):
    """What `POST /predict` answers."""

    images: list[ImageAnswer | ImageProblem] = Field(description="In the order sent.")
    model: ModelFacts
