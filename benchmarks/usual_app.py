"""The usual first version of such an app, as a baseline: Flask around `model.predict`.

KERAS_MODEL names the model file. With LOAD=always it is loaded for every request, as in many
tutorials.
"""

import io
import os

import keras
import numpy as np
from flask import Flask, Response, jsonify, request
from PIL import Image, ImageOps

from benchmarks.untrained import CROP, SIZE

app = Flask(__name__)


def _load() -> keras.Model:
    return keras.models.load_model(os.environ["KERAS_MODEL"])


_once = None if os.environ.get("LOAD") == "always" else _load()


def _read(data: bytes) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    side = CROP * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    cut = image.crop((int(left), int(top), int(left + side), int(top + side)))
    return np.asarray(cut.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.float32)


@app.get("/readyz")
def answer_readiness() -> str:
    """Answer; the app is ready as soon as it does."""
    return "ready"


@app.post("/predict")
def predict() -> Response:
    """Return the probability for the photo in the form field `image`."""
    model = _once or _load()
    logit = model.predict(_read(request.files["image"].read())[np.newaxis], verbose=0)
    return jsonify(probability=float(1 / (1 + np.exp(-logit[0, 0]))))
