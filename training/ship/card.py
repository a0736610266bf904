"""The model card, written from measurements: no figure in it is typed by hand."""

from typing import Any

from processing.bundle import Description
from training.data.vocabulary import TARGETS, describe_source
from training.evaluate.evaluation import Evaluation
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


def render_card(description: Description, evaluation: Evaluation) -> str:
    """Render the model card as Markdown."""
    training = description.training
    return render_template(
        "model_card.md",
        **dict(description)
        | {
            "in_force": description.in_force,
            "settings": training["settings"],
            "data": training["data"],
            "sources": ", ".join(
                f"{describe_source(k).title}: {n:,}" for k, n in training["data"]["sources"].items()
            ),
            "plural": TARGETS[description.label.name].plural,
            "start": _describe_start(training["settings"]),
            "loss": _LOSSES[training["settings"]["loss"]["name"]],
            "schedule": _SCHEDULES[training["settings"]["schedule"]["name"]],
            "judgements": evaluation.judgements,
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


def _describe_start(settings: dict[str, Any]) -> str:
    if earlier := settings["weights_run"]:
        return (
            f"those of {earlier['epochs']} epochs at {earlier['size']} px, which started from "
            + _describe_start(earlier)
        )
    return f"`{settings['weights']}`"
