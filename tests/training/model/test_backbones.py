from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from PIL import Image
from skimage.data import chelsea

from training.errors import TrainingError
from training.model.backbones import build_backbone
from training.model.lite_weights import read_packaged

EGYPTIAN_CAT = 285  # of ImageNet's 1000


@pytest.mark.slow
@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_lite_with_its_packaged_weights_recognises_a_cat(number: int, size: int) -> None:
    name = f"EfficientNetLite{number}"
    head = read_packaged(name)
    image = Image.fromarray(chelsea()[:, 75:375]).resize((size, size), Image.Resampling.BICUBIC)
    features = build_backbone(name, size, "imagenet").predict(
        np.asarray(image, np.float32)[None], verbose=0
    )
    scores = head["_fc.weight"] @ features.mean(axis=(0, 1, 2)) + head["_fc.bias"]
    assert scores.argmax() == EGYPTIAN_CAT


def write_legacy_weights(model: keras.Model, path: Path) -> None:
    """A `*_notop.h5` file as the `efficientnet` package publishes them, without normalisation."""
    layers = [x for x in model.layers if x.weights and x.name != "normalization"]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.4.0"
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{w.name}:0".encode() for w in layer.weights]
            group.attrs["weight_names"] = names
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name.decode()] = value


@pytest.mark.slow
def test_a_weights_file_is_loaded_by_name(tmp_path: Path) -> None:
    source = build_backbone("EfficientNetB0", 64, "none")
    write_legacy_weights(source, tmp_path / "b0_notop.h5")
    loaded = build_backbone("EfficientNetB0", 64, str(tmp_path / "b0_notop.h5"))
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        loaded.predict(image, verbose=0), source.predict(image, verbose=0)
    )


@pytest.mark.slow
def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    write_legacy_weights(build_backbone("EfficientNetB0", 64, "none"), tmp_path / "b0_notop.h5")
    with pytest.raises(TrainingError, match=r"lacks \d+ layers of efficientnetb1"):
        build_backbone("EfficientNetB1", 64, str(tmp_path / "b0_notop.h5"))


@pytest.mark.parametrize(
    ("name", "weights", "complaint"),
    [
        ("EfficientNetB9", "none", "--backbone must be one of"),
        ("EfficientNetLite0", "noisy-student", "must be imagenet or none"),
        ("EfficientNetB0", "no-such-file.h5", "is neither a file nor one of"),
        ("EfficientNetB0", __file__, "not an HDF5 weights file"),
    ],
)
def test_an_unusable_choice_names_the_option(name: str, weights: str, complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        build_backbone(name, 64, weights)
