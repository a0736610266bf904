"""The model card, written from measurements: no figure in it is typed by hand."""

from collections.abc import Sequence
from typing import Any

from processing.manifest import Description
from training.data.vocabulary import TARGETS, describe_source
from training.evaluate.evaluation import Evaluation
from training.evaluate.figures import UNKNOWN, Judgement
from training.metrics.intervals import INTERVAL_METHOD, PROPORTION_METHOD
from training.pages import render_template
from training.serving.served import CHECKED_IMAGES
from training.text import render_estimate

_LOSSES = {
    "bce": "cross-entropy",
    "weighted_bce": "cross-entropy with weighted positives",
    "focal": "focal loss",
}
_SCHEDULES = {
    "cyclic": "a cyclic learning rate",
    "decay": "exponential decay",
    "warmup_decay": "warm-up and decay",
}


def render_card(description: Description, evaluation: Evaluation, notes: Sequence[str] = ()) -> str:
    """Render the model card as Markdown.

    Args:
        notes: sentences on what cannot be measured here.
    """
    training = description.training
    return render_template(
        "model_card.md",
        **dict(description)
        | {
            "settings": training["settings"],
            "data": training["data"],
            "sources": ", ".join(
                f"{describe_source(k).title}: {n:,}" for k, n in training["data"]["sources"].items()
            ),
            "plural": TARGETS[description.label.name].plural,
            "start": _describe_start(training["settings"]),
            "loss": _LOSSES[training["settings"]["loss"]["name"]],
            "schedule": _SCHEDULES[training["settings"]["schedule"]["name"]],
            "held": description.list_held(),
            "notes": notes,
            "judgements": evaluation.judgements,
            "kinds": _list_known(evaluation.judgements, "modality"),
            "skin_tones": _list_known(evaluation.judgements, "skin tone"),
            "benign": _count_benign(evaluation.judgements[0]),
            "separation": evaluation.separation,
            "weights_averaged": evaluation.weights_averaged,
            "assumed_prevalence": evaluation.assumed_prevalence,
            "calibrations": evaluation.calibrations,
            "nonlesions": evaluation.nonlesions,
            "precision_checks": evaluation.precision_checks,
            "keras_difference": evaluation.keras_difference,
            "checked_images": CHECKED_IMAGES,
            "interval_method": INTERVAL_METHOD,
            "proportion_method": PROPORTION_METHOD,
            "estimate": render_estimate,
            "count": "{:,}".format,
        },
    )


def _list_known(judgements: Sequence[Judgement], by: str) -> list[str]:
    """List the names of the subgroups by a column on the training data, but for "not known"."""
    parts = judgements[0].subgroups
    return [part.name for part in parts if part.by.startswith(by) and part.name != UNKNOWN]


def _count_benign(judgement: Judgement) -> str:
    """Count the images that are not positive by diagnosis, the most frequent first."""
    parts = [part for part in judgement.subgroups if part.by == "diagnosis"]
    counts = {part.name: part.images - part.positives for part in parts}
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{name}: {count:,}" for name, count in ordered if count)


def _describe_start(settings: dict[str, Any]) -> str:
    if earlier := settings["weights_run"]:
        return (
            f"those of {earlier['epochs']} epochs at {earlier['size']} px, which started from "
            + _describe_start(earlier)
        )
    return f"`{settings['weights']}`"
