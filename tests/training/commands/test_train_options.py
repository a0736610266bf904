"""The options of `train` and `compare` are those of the recipe, and a file may give them."""

import json
import logging
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from etils import epath
from pydantic import TypeAdapter, ValidationError

from training.__main__ import main
from training.commands.compare import compare
from training.commands.train import train
from training.errors import TrainingError
from training.recipe import Augmentation, Recipe, Setting, TrainSettings, list_settings

SETTINGS = [each for each in list_settings() if each.path[0] != "augmentation"]
# `compare` takes several values of these, and has defaults of its own.
COMPARED = ("loss", "schedule", "batch-size", "seed")
NUMBERS = (-1, 0, 1e-9, 0.5, 0.999, 1, 1.5, 2, 4, 5, 31, 32, 1_000_000)


def find_option(command: click.Command, name: str) -> click.Option:
    (option,) = [each for each in command.params if f"--{name}" in each.opts]
    assert isinstance(option, click.Option)
    return option


def name_of(setting: Setting) -> str:
    return setting.option


@pytest.mark.parametrize("setting", SETTINGS, ids=name_of)
@pytest.mark.parametrize("command", [train, compare], ids=["train", "compare"])
def test_an_option_has_the_default_and_the_help_of_its_field(
    command: click.Command, setting: Setting
) -> None:
    option = find_option(command, setting.option)
    if command is compare and setting.option in COMPARED:
        assert option.multiple
        return
    default = setting.field.get_default()
    context = command.make_context(command.name, ["--run", "run"])
    assert context.params[option.name or ""] == default
    assert option.help == setting.field.description
    if default not in (None, ()):
        _, shown = option.get_help_record(context) or ("", "")
        assert f"[default: {setting.option if default is True else default}" in shown


def accepts_option(option: click.Option, value: object) -> bool:
    try:
        option.type.convert(str(value), option, None)
    except click.BadParameter:
        return False
    return True


def accepts_field(setting: Setting, value: object) -> bool:
    try:
        wanted: Any = Recipe
        for name in setting.path[:-1]:
            wanted = wanted.model_fields[name].annotation
        nested: Any = {setting.path[-1]: value}
        TypeAdapter(wanted).validate_python(nested)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("setting", SETTINGS, ids=name_of)
def test_an_option_accepts_what_its_field_accepts(setting: Setting) -> None:
    option = find_option(train, setting.option)
    if isinstance(option.type, click.types.StringParamType | click.types.BoolParamType):
        return
    values: list[object] = ["nonsense", *NUMBERS]
    if isinstance(option.type, click.Choice):
        values += list(option.type.choices)
    for value in values:
        assert accepts_option(option, value) == accepts_field(setting, value), value


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainSettings]:
    """The settings with which `train` would have trained."""
    received: list[TrainSettings] = []

    def record(settings: TrainSettings, *_: object, **__: object) -> None:
        received.append(settings)

    monkeypatch.setattr("training.train.cross_validation.cross_validate", record)
    return received


def run_train(*arguments: object) -> None:
    command = ["train", *(str(each) for each in arguments)]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def write_toml(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_without_options_the_recipe_is_the_default_at_the_size_of_the_data(
    trained: list[TrainSettings], data: epath.Path, tmp_path: Path
) -> None:
    run_train("--data", data, "--run", tmp_path / "run")
    (settings,) = trained
    assert settings.model_dump(include=set(Recipe.model_fields)) == (
        Recipe().model_dump() | {"size": 64}
    )
    assert settings.data == str(data)


def test_every_option_reaches_its_field(
    trained: list[TrainSettings], data: epath.Path, tmp_path: Path
) -> None:
    wanted: dict[str, Any] = {
        "backbone": "EfficientNetB0", "weights": "none", "size": 32, "folds": 2, "epochs": 3,
        "steps-per-epoch": 4, "batch-size": 5, "freeze-epochs": 1, "loss": "focal",
        "positive-weight": 2.0, "focal-gamma": 1.0, "focal-alpha": 0.5, "label-smoothing": 0.1,
        "schedule": "cyclic", "learning-rate": 0.1, "lowest": 0.5, "warmup-epochs": 0.25,
        "hold-epochs": 0.75, "curve": "exponential", "cycle-epochs": 1.0, "diagnosis-weight": 0.5,
        "repeat-positives": 2, "extra": ("a", "b"), "omit": ("c",), "weight-decay": 0.0,
        "averaged-share": 0.5, "dropout": 0.1, "drop-connect": 0.5, "tta": False, "seed": 7,
        "thaw-warmup-epochs": 0.1, "clip-norm": 1.5, "epoch-images": 30, "batchnorm-images": 9,
        "balance": ("target:1=0.3", "source:isic2019=0.2"),
    }  # fmt: skip
    assert wanted.keys() == {each.option for each in SETTINGS}
    options: list[object] = ["--no-tta", "--augment", "zoom=0.5", "--augment", "flips=no"]
    for name, value in wanted.items():
        for each in value if isinstance(value, tuple) else [value]:
            options += [] if each is False else [f"--{name}", each]
    run_train("--data", data, "--run", tmp_path / "run", *options)
    (settings,) = trained
    for setting in SETTINGS:
        value: Any = settings
        for name in setting.path:
            value = getattr(value, name)
        assert value == wanted[setting.option], setting.option
    assert settings.augmentation == Augmentation(zoom=0.5, flips=False)


def test_a_file_gives_settings_and_the_command_line_wins(
    trained: list[TrainSettings], data: epath.Path, tmp_path: Path
) -> None:
    config = write_toml(
        tmp_path,
        f"data = '{data}'\nepochs = 3\nfolds = 2\n[schedule]\nlearning_rate = 0.1\nlowest = 0.5\n"
        "[augmentation]\nzoom = 0.5\nshift = 0.5",
    )
    # A default that is typed counts, too: the file does not win over it.
    options = ["--epochs", "10", "--lowest", "0.25", "--augment", "shift=0.25"]
    run_train("--config", config, "--run", tmp_path / "run", *options)
    (settings,) = trained
    assert (settings.data, settings.epochs, settings.folds) == (str(data), 10, 2)
    assert (settings.schedule.learning_rate, settings.schedule.lowest) == (0.1, 0.25)
    assert (settings.augmentation.zoom, settings.augmentation.shift) == (0.5, 0.25)
    assert settings.backbone == Recipe().backbone


def test_a_runs_own_config_trains_the_same_again(
    trained: list[TrainSettings], run: Path, train_settings: TrainSettings, tmp_path: Path
) -> None:
    run_train("--config", run / "config.json", "--run", tmp_path / "again")
    assert trained == [train_settings]


def test_a_data_folder_on_the_command_line_wins_over_the_files(
    trained: list[TrainSettings], data: epath.Path, tmp_path: Path
) -> None:
    config = write_toml(tmp_path, "data = 'no-such-folder'")
    run_train("--config", config, "--data", data, "--run", tmp_path / "run")
    assert trained[0].data == str(data)


def test_resume_keeps_the_runs_settings_except_those_in_a_file(
    trained: list[TrainSettings], run: Path, train_settings: TrainSettings, tmp_path: Path
) -> None:
    run_train("--resume", "--run", run, "--config", write_toml(tmp_path, "epochs = 2"))
    assert trained == [train_settings]
    run_train("--resume", "--run", run, "--config", write_toml(tmp_path, "epochs = 9"))
    assert trained[1] == train_settings.model_copy(update={"epochs": 9})


def test_resume_with_a_file_that_differs_from_the_run_names_what_differs(
    run: Path, tmp_path: Path
) -> None:
    config = write_toml(tmp_path, "epochs = 9\n[schedule]\ncurve = 'exponential'")
    with pytest.raises(TrainingError, match="epochs 2 there, 9 now; schedule.curve cosine there"):
        run_train("--resume", "--run", run, "--only-fold", "0", "--config", config)


def test_a_file_that_names_no_data_needs_the_option(tmp_path: Path) -> None:
    command = ["train", "--run", str(tmp_path / "run")]
    command += ["--config", str(write_toml(tmp_path, "epochs = 3"))]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "Give --data" in result.output


def test_a_fault_in_the_file_is_reported_before_anything_is_read(
    trained: list[TrainSettings], tmp_path: Path
) -> None:
    config = write_toml(tmp_path, "[schedule]\ncurv = 'cosine'")
    with pytest.raises(TrainingError, match=r"recipe.toml: schedule.curv: no such key"):
        run_train("--config", config, "--data", "no-such-folder", "--run", tmp_path / "run")
    assert not trained


@pytest.mark.slow
def test_a_recipe_from_a_file_is_trained_logged_and_recorded(
    data: epath.Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_toml(
        tmp_path,
        "backbone = 'EfficientNetLite0'\nweights = 'none'\nsize = 32\nfolds = 2\nepochs = 1\n"
        "steps_per_epoch = 1\nbatch_size = 4\ntta = false\n[loss]\nname = 'bce'",
    )
    with caplog.at_level(logging.INFO, "training"):
        run_train("--config", config, "--data", data, "--run", tmp_path / "run", "--only-fold", "1")
    (line,) = [each for each in caplog.messages if each.startswith("Settings: ")]
    assert line == (
        "Settings: backbone EfficientNetLite0 (default EfficientNetB4); weights none "
        "(default imagenet); size 32; folds 2 (default 5); epochs 1 (default 10); "
        "steps_per_epoch 1; batch_size 4 (default 32); loss.name bce (default weighted_bce); "
        "tta False (default True)"
    )
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (recorded["loss"]["name"], recorded["size"], recorded["tta"]) == ("bce", 32, False)
    assert (tmp_path / "run" / "fold1" / "oof.csv").exists()
