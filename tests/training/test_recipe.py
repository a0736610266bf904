from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError, list_differences
from training.recipe import (
    Augmentation,
    Loss,
    Recipe,
    Schedule,
    TrainSettings,
    list_changes,
    list_settings,
    parse_strengths,
    read_config,
)

TOML = """
data = "runs/data224"
epochs = 3
extra_sources = ["isic2020"]

[schedule]
learning_rate = 2e-3
"""
GIVEN = {
    "data": "runs/data224",
    "epochs": 3,
    "extra_sources": ("isic2020",),
    "schedule": {"learning_rate": 2e-3},
}


@pytest.fixture
def settings() -> TrainSettings:
    return TrainSettings(
        data="runs/data224",
        data_sha256="0" * 64,
        size=224,
        epochs=3,
        loss=Loss(name="focal"),
        extra_sources=("isic2019", "isic2020"),
        thaw_warmup_epochs=0.5,
        batchnorm_images=2048,
        tta=False,
    )


def write(folder: Path, text: str | bytes, name: str = "recipe.toml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [TOML, TOML.replace("\n", "\r\n"), b"\xef\xbb\xbf" + TOML.encode()],
    ids=["as on Linux", "Windows line endings", "byte order mark"],
)
def test_a_toml_file_gives_its_own_settings_and_no_others(
    text: str | bytes, tmp_path: Path
) -> None:
    assert read_config(write(tmp_path, text)) == GIVEN


def test_a_runs_config_gives_its_recipe_and_its_data(
    settings: TrainSettings, tmp_path: Path
) -> None:
    later = settings.model_copy(update={"weights": "runs/earlier", "weights_run": settings})
    path = write(tmp_path, later.model_dump_json(indent=2), "config.json")
    derived = {"data_sha256", "crop_fraction", "pixel_path", "weights_run"}
    assert read_config(path) == later.model_dump(exclude=derived)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("epoch = 3", r"epoch: no such key. Did you mean epochs\? Accepted: backbone, weights, .*"),
        (
            "[schedule]\ncurv = 'cosine'",
            r"schedule.curv: no such key. Did you mean schedule.curve\? Accepted: name, learning_",
        ),
        ("learning_rate = 1", r"learning_rate: no such key. Did you mean schedule.learning_rate\?"),
        ("learning-rate = 1", r"learning-rate: no such key. Did you mean schedule.learning_rate\?"),
        ("repeat-positives = 2", r"repeat-positives: .* mean positives_repeated\?"),
        ("[a]\nb = 1", r"a: no such key. Accepted: backbone"),
        (
            "[loss]\nname = 'focl'",
            "loss.name: .*'weighted_bce', 'bce' or 'focal'. Received: 'focl'",
        ),
        (
            "backbone = 'B0'",
            "backbone: .*'EfficientNetB0'.* or 'EfficientNetLite2'. Received: 'B0'",
        ),
        ("[augmentation]\nzoom = 2", "augmentation.zoom: .*less than 1. Received: 2"),
        ("folds = 1", "folds: .*greater than or equal to 2. Received: 1"),
        ("epochs = 2.5", "epochs: .*valid integer.* Received: 2.5"),
        ("seed = -1", "seed: .*greater than or equal to 0. Received: -1"),
        ("loss = 'focal'", "loss: give a table of name, positive_weight, .* Received: 'focal'"),
        ("omitted_sources = 'a'", "omitted_sources: Input should be a list. Received: 'a'"),
        ("extra_sources = ['a', 3]", "extra_sources.1: .*valid string. Received: 3"),
        ("data = 5", "data: give the path of a data folder as a string. Received: 5"),
        ("data = ['a']", "data: give the path of a data folder as a string. Received: "),
    ],
)
def test_a_fault_names_the_file_the_key_and_what_is_accepted(
    text: str, complaint: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(TrainingError, match=f"--config {path}: {complaint}") as raised:
        read_config(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("recipe.toml", "epochs: 3", "is not valid TOML: Expected '='.*line 1"),
        ("recipe.toml", '{"epochs": 3}', "is not valid TOML: .* name ends in .json"),
        ("recipe.toml", b"\xff\xfe", "is not valid TOML: "),
        ("config.json", "epochs = 3", "is not valid JSON: Expecting value: line 1"),
        ("config.json", "", "is not valid JSON: "),
        ("config.json", "[1]", "holds no settings"),
        ("config.json", "{}", "holds no settings"),
        ("recipe.toml", "", "holds no settings. Give some, or leave --config out"),
        ("recipe.toml", "# epochs = 3\n", "holds no settings"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(
    name: str, text: str | bytes, complaint: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text, name)
    with pytest.raises(TrainingError, match=f"--config {path} {complaint}"):
        read_config(path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"--config {tmp_path} cannot be read: Is a directory"):
        read_config(tmp_path)


def test_settings_are_listed_at_every_depth_each_with_an_option_of_its_own() -> None:
    paths = [".".join(each.path) for each in list_settings()]
    assert paths[:2] == ["backbone", "weights"]
    assert {"loss.name", "schedule.learning_rate", "augmentation.zoom", "seed"} <= set(paths)
    assert not {"loss", "schedule", "augmentation"} & set(paths)
    options = [each.option for each in list_settings()]
    assert len(options) == len(set(options))
    assert {"loss", "schedule", "learning-rate", "repeat-positives", "extra"} <= set(options)


def test_changes_are_listed_with_the_defaults_beside_them(settings: TrainSettings) -> None:
    assert list_changes(settings) == [
        "size 224",
        "epochs 3 (default 10)",
        "loss.name focal (default weighted_bce)",
        "extra_sources isic2019, isic2020",
        "tta False (default True)",
    ]
    assert list_changes(Recipe()) == []


def test_differences_are_listed_at_every_depth_and_briefly(settings: TrainSettings) -> None:
    update: dict[str, Any] = {"epochs": 4, "schedule": Schedule(curve="exponential")}
    other = settings.model_copy(update=update | {"weights_run": settings})
    assert list_differences(settings, other) == [
        "epochs 3 there, 4 now",
        "schedule.curve cosine there, exponential now",
        "weights_run None there, given now",
    ]


def test_strengths_are_read_from_texts() -> None:
    strengths = parse_strengths(["zoom=0.2", "flips=no"])
    assert strengths == {"zoom": 0.2, "flips": False}
    assert Augmentation(**strengths).rotation_degrees == 180


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("zoom", "--augment zoom: give NAME=VALUE"),
        ("zom=0.2", "--augment zom: no such strength. There are rotation_degrees, .*zoom"),
        ("zoom=2", "--augment zoom=2: Input should be less than 1"),
        ("zoom=much", "--augment zoom=much: Input should be a valid number"),
    ],
)
def test_a_wrong_strength_is_named(text: str, complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        parse_strengths([text])
