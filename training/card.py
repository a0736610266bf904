"""The model card, written from the same description that becomes the manifest."""

from processing.bundle import Description, Metric
from training.vocabulary import TARGETS, describe_source

_CARD = """\
# Model card: {label.name} classifier

## What it is

{backbone} on the centre {input.crop_fraction:.0%} of an image, resized to {input.size} px;
{training[folds_averaged]} of {settings[folds]} cross-validation folds, averaged.

## What it is for

It helps a person decide whether a spot on the skin deserves a doctor's eye, and gives a clinician
a second look at a dermoscopic image. It is no diagnosis and no medical device, and a low score is
no reason to put off a visit: a spot that changes, bleeds or looks unlike the others belongs before
a doctor whatever this model says.

## What the label covers

`malignant` means {label.covers}. Not covered: {label.not_covered}.

## How good it is

| data | figure | value | 95 % interval |
|---|---|---|---|
{metrics}

## Threshold

An image is called malignant from a probability of {point.threshold:.4f}: the operating point
"{point.name}", chosen on {point.measured_on}.
No test set chose an epoch, a threshold or the calibration.

## Calibration

probability = sigmoid({calibration.slope:.4f} * logit + ({calibration.intercept:.4f})), fitted on
{calibration.fitted_on}.

## Training

{data[images]} images ({sources}) with {data[positives]} {plural}, of {data[groups]} patients,
lesions or single images, none of them in two folds; each fold's model saw all but the fold that it
is judged on. {settings[epochs]} epochs, batches of {settings[batch_size]}, {loss}, AdamW at
{settings[schedule][learning_rate]:g} with {schedule}, averaged weights, starting weights
`{settings[weights]}`, seed {settings[seed]}; TensorFlow {training[tensorflow]}, Keras
{training[keras]}.

## Limits

- Trained on dermoscopic images, taken through a dermatoscope. How it does on plain phone photos
  has not been measured.
- It does not know whether a photo shows a lesion at all: it also gives a score for a photo of
  something else.
- Skin tones were not recorded in ISIC 2019 and 2020, so how it does on darker skin could not be
  measured.
- The share of {plural} among the training images is higher than among the spots that people worry
  about, and the probability is calibrated to that share.

## Licence

{licence}.

{attribution}
"""

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


def render_card(description: Description) -> str:
    """Markdown of the model card."""
    training = description.training
    plural = TARGETS[description.label.name].plural
    return _CARD.format(
        **dict(description)
        | {
            "settings": training["settings"],
            "data": training["data"],
            "sources": ", ".join(
                f"{describe_source(k).title}: {n}" for k, n in training["data"]["sources"].items()
            ),
            "point": description.in_force,
            "plural": plural,
            "loss": _LOSSES[training["settings"]["loss"]["name"]],
            "schedule": _SCHEDULES[training["settings"]["schedule"]["name"]],
            "metrics": "\n".join(_render_metric(m, plural) for m in description.metrics),
            "attribution": "\n".join(f"- {line}" for line in description.attribution),
        }
    )


def _render_metric(metric: Metric, plural: str) -> str:
    estimate = metric.estimate
    return (
        f"| {metric.dataset}: {metric.images} images, {metric.positives} {plural} | {metric.name} "
        f"| {estimate.value:.3f} | {estimate.low:.3f} to {estimate.high:.3f}, "
        f"{metric.interval_method} |"
    )
