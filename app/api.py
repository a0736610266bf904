"""The API's responses: their schemas, which the OpenAPI description uses, and their contents."""

import base64
from typing import Annotated, Any

from flask import request
from pydantic import BaseModel, ConfigDict, Field

from app.answer import Answer, ClassName, Reason
from app.heatmap import draw_heatmap
from app.verdict import Verdict, find_high_threshold
from processing.manifest import Estimate, Evidence, Label, Manifest, Modality, Probability

_HTML, _JSON, _PROBLEM = "text/html", "application/json", "application/problem+json"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(_Shape):
    """An error (RFC 9457). Rely on `type`; `title` and `detail` are in the requested language."""

    type: str = Field(
        description="An address of this app, where a page explains it; or `about:blank`.",
        examples=["/problems/image-missing"],
    )
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str = Field(description="What is wrong and what to do.")
    request_id: str = Field(description="The same as in the header X-Request-ID.")


class Stability(_Shape):
    """Lowest and highest probability over the eight orientations of the photo."""

    low: Probability
    high: Probability


class ImageAnswer(_Shape):
    """The result for one photo."""

    name: str = Field(description="The file's name as sent, without folders.")
    assessable: bool = Field(description="Whether the photo can be judged; if not, see `reasons`.")
    label: ClassName | None
    verdict: Verdict | None = Field(
        description="`low`: below `threshold`. `high`: from `high_threshold`. `middle`: between "
        "them, and each photo that is `uncertain`; this can be known only with `stability`."
    )
    probability: Probability | None = Field(description="Calibrated probability of `malignant`.")
    modality: Modality | None = Field(
        description="The kind of photo that the model takes it for, if it tells kinds apart."
    )
    threshold: Probability = Field(
        description="Probability from which the label is `malignant`, for this kind of photo."
    )
    high_threshold: Probability = Field(
        description="Probability from which the verdict is `high`, for this kind of photo."
    )
    stability: Stability | None = Field(description="Given if the request asks for it.")
    uncertain: bool = Field(
        description="Some orientations of the photo reach the threshold and others don't."
    )
    heatmap: str | None = Field(
        description="What the probability is based on: a PNG to overlay, enlarged, on the photo's "
        "centre square, as a data URI."
    )
    reasons: list[Reason] = Field(description="Why the photo cannot be judged.")


class ImageProblem(_Shape):
    """One of several photos, which could not be classified."""

    name: str
    error: Problem


Entry = ImageAnswer | ImageProblem


class Promise(_Shape):
    """What the model promises, and on which photos that was measured."""

    threshold: Probability
    sensitivity: Estimate
    specificity: Estimate
    measured_on: str


class ModelFacts(Promise):
    """The model that answered."""

    version: str = Field(description="SHA-256 of its files.")
    label: Label
    modalities: dict[Modality, Promise] = Field(
        description="The promise for each kind of photo, if the model tells kinds apart; it then "
        "takes the place of that for all photos."
    )


class Answers(_Shape):
    """The response of `POST /predict`."""

    images: list[Entry] = Field(description="In the order sent.")
    model: ModelFacts


def wants_json() -> bool:
    """Return whether to answer in JSON: unless `Accept` names `text/html`, as browsers do."""
    accepted = request.accept_mimetypes
    named = any(kind.lower().startswith(_HTML) and quality > 0 for kind, quality in accepted)
    return not named or accepted.best_match([_HTML, _JSON, _PROBLEM], _HTML) != _HTML


def describe_answer(name: str, answer: Answer, manifest: Manifest) -> ImageAnswer:
    """Build the API's result for one photo."""
    evidence = manifest.choose(answer.modality)
    heatmap = None if answer.cam is None else draw_heatmap(answer.cam)
    return ImageAnswer(
        name=name,
        assessable=answer.assessable,
        label=answer.label,
        verdict=answer.verdict,
        probability=answer.probability if answer.assessable else None,
        modality=answer.modality,
        threshold=evidence.in_force.threshold,
        high_threshold=find_high_threshold(evidence),
        stability=Stability(**answer.stability._asdict()) if answer.stability else None,
        uncertain=answer.uncertain,
        heatmap=heatmap and build_data_uri("image/png", heatmap),
        reasons=list(answer.reasons),
    )


def describe_model(manifest: Manifest) -> ModelFacts:
    """Build the API's facts about the model that answered."""
    return ModelFacts(
        version=manifest.version,
        label=manifest.label,
        **_list_promise(manifest),
        modalities={
            modality: Promise(**_list_promise(evidence))
            for modality, evidence in manifest.modalities.items()
        },
    )


def _list_promise(evidence: Evidence) -> dict[str, Any]:
    return {name: getattr(evidence.in_force, name) for name in Promise.model_fields}


def build_data_uri(media_type: str, content: bytes) -> str:
    """Encode the content of a file as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
