"""What one would write first: Flask around `model.predict`. What we are compared with.

KERAS_MODEL names the file; with LOAD=always it is read anew for every request, as tutorials do.
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
def tell_readiness() -> str:
    """It is ready once it answers."""
    return "ready"


@app.post("/predict")
def predict() -> Response:
    """The model's logit for the photo in the field `image`."""
    model = _once or _load()
    logit = model.predict(_read(request.files["image"].read())[np.newaxis], verbose=0)
    return jsonify(probability=float(1 / (1 + np.exp(-logit[0, 0]))))
