"""Two tiny runs are trained by the command; comparisons are tested on made-up scores."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from etils import epath

from training.__main__ import main
from training.errors import TrainingError
from training.evaluate.comparison import (
    Combination,
    Comparison,
    compare_runs,
    describe,
    list_combinations,
    make_table,
    write_comparison,
)
from training.evaluate.comparison_report import write_comparison_page
from training.recipe import Loss, TrainSettings
from training.train.run import CONFIG, HISTORY, OOF, fold_folder, read_settings

TINY = [
    *("--backbone", "EfficientNetLite0", "--size", "32", "--folds", "2", "--epochs", "1"),
    *("--steps-per-epoch", "2", "--freeze-epochs", "1", "--no-tta", "--only-fold", "0"),
    *("--batchnorm-images", "0"),
    *("--schedule", "decay", "--batch-size", "4"),
]
IMAGES, FOLDS, SECONDS = 600, 3, 60.0
COMBINATIONS = list_combinations(["bce", "focal", "weighted_bce"], ["decay"], [8])
BCE, FOCAL, WEIGHTED = (each.name for each in COMBINATIONS)


def compare(data: epath.Path, run: Path, *options: str) -> Result:
    command = ["compare", "--data", str(data), "--run", str(run), *TINY, *options]
    return CliRunner().invoke(main, command, catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(data: epath.Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    run = tmp_path_factory.mktemp("compared") / "grid"
    return run, compare(data, run, "--loss", "bce", "--loss", "focal", "--price", "2.5")


@pytest.mark.slow
def test_each_combination_is_a_run_and_all_are_compared(trained: tuple[Path, Result]) -> None:
    run, result = trained
    assert result.exit_code == 0, result.output
    bce, focal = (read_settings(run / name) for name in ("bce-decay-4", "focal-decay-4"))
    assert bce.model_copy(update={"loss": Loss(name="focal")}) == focal
    table = pd.read_csv(run / "comparison.csv")
    assert table["run"].tolist() == ["bce-decay-4", "focal-decay-4"]
    assert (table["cost"] / table["hours"]).tolist() == pytest.approx([2.5, 2.5], rel=0.05)
    assert "fold 0 of 2" in result.output
    assert "focal-decay-4" in (run / "comparison.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_resume_skips_finished_runs_and_trains_the_others(
    trained: tuple[Path, Result], data: epath.Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained[0], tmp_path / "grid"))
    shutil.rmtree(run / "focal-decay-4")
    there = run / "bce-decay-4" / "fold0" / "model.keras"
    before = there.stat().st_mtime_ns
    losses = ["--loss", "bce", "--loss", "focal"]
    result = compare(data, run, "--resume", *losses, "--reference", "focal-decay-4")
    assert result.exit_code == 0, result.output
    assert there.stat().st_mtime_ns == before
    assert pd.read_csv(run / "comparison.csv")["verdict"][1] == "reference"
    pd.testing.assert_frame_equal(
        *(pd.read_csv(each / "focal-decay-4" / "oof.csv") for each in (run, trained[0]))
    )


@pytest.mark.slow
def test_a_seed_is_added_to_a_comparison(
    trained: tuple[Path, Result], data: epath.Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained[0], tmp_path / "grid"))
    # As if the second seed of one of them were trained, too.
    again = Path(shutil.copytree(run / "bce-decay-4", run / "bce-decay-4-seed1"))
    settings = read_settings(again).model_copy(update={"seed": 1})
    (again / CONFIG).write_text(settings.model_dump_json())
    losses = ["--loss", "bce", "--loss", "focal"]
    result = compare(data, run, "--resume", *losses, "--seed", "0", "--seed", "1")
    assert result.exit_code == 0, result.output
    assert not (run / "bce-decay-4-seed0").exists()
    assert read_settings(run / "focal-decay-4-seed1").seed == 1
    assert "trained with 2 seeds (0, 1)" in result.output
    assert pd.read_csv(run / "comparison.csv")["seeds"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("options", "rates"),
    [([], [4e-4] * 2), (["--scale-learning-rate"], [1e-4, 8e-4]),
     (["--scale-learning-rate", "--learning-rate", "1e-3"], [2.5e-4, 2e-3])],
)  # fmt: skip
def test_the_learning_rate_is_scaled_with_the_batch_size_on_request(
    options: list[str],
    rates: list[float],
    data: epath.Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = []

    def keep(_train: object, settings: TrainSettings, *_others: object) -> bool:
        trained.append(settings)
        return False  # as the second of two processes, which compares nothing

    monkeypatch.setattr("training.commands.compare.run_in_own_process", keep)
    sizes = ["--loss", "bce", "--batch-size", "8", "--batch-size", "64"]
    command = ["compare", "--data", str(data), "--run", str(tmp_path), "--schedule", "decay"]
    result = CliRunner().invoke(main, [*command, *sizes, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert [each.batch_size for each in trained] == [8, 64]
    assert [each.schedule.learning_rate for each in trained] == pytest.approx(rates)


@pytest.mark.slow
def test_a_folder_of_runs_is_not_overwritten(
    trained: tuple[Path, Result], data: epath.Path
) -> None:
    with pytest.raises(TrainingError, match="grid exists. Continue it with --resume"):
        compare(data, trained[0], "--schedule", "cyclic")


def test_resume_without_any_run_is_refused(data: epath.Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="grid holds no runs yet"):
        compare(data, tmp_path / "grid", "--resume")
    assert not (tmp_path / "grid").exists()


@pytest.mark.slow
def test_resume_with_another_recipe_is_refused_before_anything_is_trained(
    trained: tuple[Path, Result], data: epath.Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained[0], tmp_path / "grid"))
    losses = ["--loss", "weighted_bce", "--loss", "focal"]
    with pytest.raises(TrainingError, match="focal-decay-4: --resume with.*seed 0 there, 1 now"):
        compare(data, run, "--resume", *losses, "--seed", "1")
    assert not (run / "weighted_bce-decay-4").exists()


@pytest.fixture
def runs(tmp_path: Path, train_settings: TrainSettings) -> Path:
    """Runs: focal ranks like the reference, and weighted_bce much better."""
    rng = np.random.default_rng(0)
    images = pd.DataFrame(
        {
            "image_name": [f"image{i:03d}" for i in range(IMAGES)],
            "target": np.arange(IMAGES) % 5 == 0,
            "group": [f"lesion{i // 2:03d}" for i in range(IMAGES)],
            "fold": np.arange(IMAGES) // 2 % FOLDS,
        }
    ).astype({"target": int})
    logit = rng.normal(images["target"], 1)
    logits = [logit, rng.normal(2 * logit, 0.1), logit + images["target"]]
    for combination, logit in zip(COMBINATIONS, logits, strict=True):
        settings = train_settings.model_copy(
            update={"folds": FOLDS, "loss": Loss(name=combination.loss)}
        )
        write_run(tmp_path / combination.name, settings, images.assign(logit=logit))
    return tmp_path


def write_run(run: Path, settings: TrainSettings, oof: pd.DataFrame) -> None:
    # Each run has its images in another order.
    oof = oof.sample(frac=1, random_state=len(run.name))
    for fold, rows in oof.groupby("fold"):
        folder = fold_folder(run, int(fold))
        folder.mkdir(parents=True)
        rows.to_csv(folder / OOF, index=False)
        pd.DataFrame({"epoch": [1, 2], "seconds": SECONDS}).to_csv(folder / HISTORY, index=False)
    (run / CONFIG).write_text(settings.model_dump_json())


def by_name(comparison: Comparison) -> dict[str, str]:
    return {row.combination.name: row.verdict for row in comparison.rows}


def test_combinations_are_listed_once_with_the_batch_size_changing_first() -> None:
    assert list_combinations(["bce", "bce"], ["decay", "cyclic"], [8, 16]) == [
        Combination("bce", "decay", 8),
        Combination("bce", "decay", 16),
        Combination("bce", "cyclic", 8),
        Combination("bce", "cyclic", 16),
    ]


def test_a_run_that_ranks_better_is_recognised(runs: Path) -> None:
    verdicts = by_name(compare_runs(runs, COMBINATIONS, BCE))
    assert verdicts == {BCE: "reference", FOCAL: "no difference shown", WEIGHTED: "better"}


def test_from_a_better_reference_the_others_are_worse(runs: Path) -> None:
    verdicts = by_name(compare_runs(runs, COMBINATIONS, WEIGHTED))
    assert verdicts == {BCE: "worse", FOCAL: "worse", WEIGHTED: "reference"}


def test_all_differences_hold_together(runs: Path) -> None:
    of_two = compare_runs(runs, COMBINATIONS[:2], BCE)
    of_three = compare_runs(runs, COMBINATIONS, BCE)
    assert (of_two.level, of_three.level) == pytest.approx((0.95, 0.975))
    one, same = of_two.rows[1].difference, of_three.rows[1].difference
    assert one is not None
    assert same is not None
    assert same.low < one.low < one.high < same.high
    assert "97.5 %, so that all 2 hold together at 95 % (Bonferroni)" in describe(of_three)[1]
    assert "Bonferroni" not in describe(of_two)[1]


def test_the_description_says_what_the_intervals_do_not_cover(runs: Path) -> None:
    sentences = describe(compare_runs(runs, COMBINATIONS, BCE))
    assert sentences[0].startswith("600 images, 120 of them positive, of 300 patients or lesions")
    assert "not the randomness of training: each run was trained once (seed 0)" in sentences[2]


@pytest.fixture
def seeds(runs: Path) -> dict[str, list[str]]:
    """Each run as one of two seeds; the second seed's scores of weighted_bce are noisier."""
    rng = np.random.default_rng(1)
    folders = {}
    for name in (BCE, FOCAL, WEIGHTED):
        other = Path(shutil.copytree(runs / name, runs / f"{name}-seed1"))
        settings = read_settings(other).model_copy(update={"seed": 1})
        (other / CONFIG).write_text(settings.model_dump_json())
        if name == WEIGHTED:
            for path in other.glob(f"fold*/{OOF}"):
                oof = pd.read_csv(path)
                oof["logit"] += rng.normal(0, 1, len(oof))
                oof.to_csv(path, index=False)
        folders[name] = [name, other.name]
    return folders


def test_seeds_are_averaged_and_their_spread_is_shown(
    runs: Path, seeds: dict[str, list[str]]
) -> None:
    comparison = compare_runs(runs, COMBINATIONS, BCE, folders=seeds)
    first, second = (
        compare_runs(runs, COMBINATIONS, BCE, folders={name: [seeds[name][i]] for name in seeds})
        for i in range(2)
    )
    assert comparison.seeds == [0, 1]
    for row, one, other in zip(comparison.rows, first.rows, second.rows, strict=True):
        assert row.by_seed == [one.auc.value, other.auc.value]
        assert row.auc.value == pytest.approx((one.auc.value + other.auc.value) / 2)
        assert row.seconds == one.seconds + other.seconds
    weighted = comparison.rows[-1]
    assert weighted.by_seed[0] > weighted.by_seed[1]
    # Two runs agree, so that the variance of the third one is shared by three.
    assert comparison.deviation == pytest.approx(np.std(weighted.by_seed, ddof=1) / np.sqrt(3))
    head, *rows = make_table(comparison)
    assert head[4] == "AUC by seed"
    low, high = sorted(weighted.by_seed)
    assert rows[-1][4] == f"{low:.3f} to {high:.3f}"
    assert f"{comparison.deviation:.4f}, pooled" in describe(comparison)[2]


def test_learning_rates_that_differ_are_shown(runs: Path) -> None:
    alike = compare_runs(runs, COMBINATIONS, BCE)
    assert "learning rate" not in make_table(alike)[0]
    path = runs / FOCAL / CONFIG
    settings = read_settings(runs / FOCAL)
    schedule = settings.schedule.model_copy(update={"learning_rate": 0.25})
    path.write_text(settings.model_copy(update={"schedule": schedule}).model_dump_json())
    comparison = compare_runs(runs, COMBINATIONS, BCE)
    assert [row[4] for row in make_table(comparison)] == ["learning rate", "0.001", "0.25", "0.001"]
    assert describe(comparison)[-1].startswith("The highest learning rate")


def test_only_folds_that_all_runs_have_finished_are_compared(runs: Path) -> None:
    (fold_folder(runs / FOCAL, 1) / OOF).unlink()
    comparison = compare_runs(runs, COMBINATIONS, BCE)
    assert comparison.folds == [0, 2]
    assert comparison.images == IMAGES * 2 // 3
    assert comparison.rows[0].seconds == 2 * 2 * SECONDS
    sentences = describe(comparison)
    assert "folds 0, 2 of 3" in sentences[0]
    assert sentences[-1].endswith(f"left out: {BCE} fold 1; {WEIGHTED} fold 1.")


def test_runs_without_a_common_fold_are_refused(runs: Path) -> None:
    for name, folds in ((BCE, [0, 1]), (FOCAL, [2])):
        for fold in folds:
            (fold_folder(runs / name, fold) / OOF).unlink()
    with pytest.raises(TrainingError, match="no fold is finished in all runs"):
        compare_runs(runs, COMBINATIONS, BCE)


def test_a_run_without_a_finished_fold_is_named(runs: Path) -> None:
    for fold in range(FOLDS):
        (fold_folder(runs / FOCAL, fold) / OOF).unlink()
    with pytest.raises(TrainingError, match=f"{FOCAL} has no finished fold"):
        compare_runs(runs, COMBINATIONS, BCE)


@pytest.mark.parametrize(
    ("column", "other"), [("image_name", "another"), ("target", 1), ("group", "another")]
)
def test_runs_of_other_images_are_refused(runs: Path, column: str, other: object) -> None:
    path = fold_folder(runs / FOCAL, 1) / OOF
    oof = pd.read_csv(path)
    oof.loc[oof["target"].idxmin(), column] = other
    oof.to_csv(path, index=False)
    with pytest.raises(TrainingError, match=f"{FOCAL} and .*{BCE} were not scored on the same"):
        compare_runs(runs, COMBINATIONS, BCE)


def test_cost_is_shown_if_a_price_is_given(runs: Path) -> None:
    seconds = FOLDS * 2 * SECONDS
    free, priced = (compare_runs(runs, COMBINATIONS, BCE, price) for price in (None, 30.0))
    assert [row[4:] for row in make_table(free)] == [["hours"], *[[f"{seconds / 3600:.2f}"]] * 3]
    assert [row[5:] for row in make_table(priced)] == [["cost"], *[["3.00"]] * 3]
    write_comparison(free, runs / "comparison.csv")
    assert "cost" not in pd.read_csv(runs / "comparison.csv")


def test_the_csv_file_holds_the_values_of_the_table(runs: Path) -> None:
    comparison = compare_runs(runs, COMBINATIONS, BCE)
    write_comparison(comparison, runs / "comparison.csv")
    rows = pd.read_csv(runs / "comparison.csv").to_dict("records")
    (_, *cells) = make_table(comparison)
    for row, (name, area, difference, verdict, _) in zip(rows, cells, strict=True):
        assert (row["run"], row["verdict"]) == (name, verdict)
        assert area == f"{row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f})"
        if name == BCE:
            assert np.isnan(row["difference"])
            assert difference == "-"
        else:
            assert difference.startswith(f"{row['difference']:+.3f} ({row['difference_low']:+.3f}")


def test_the_page_shows_every_run_and_needs_nothing_else(runs: Path) -> None:
    comparison = compare_runs(runs, COMBINATIONS, BCE, price=0.5)
    write_comparison_page(comparison, epath.Path(runs / "comparison.html"))
    page = (runs / "comparison.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    for name in (BCE, FOCAL, WEIGHTED):
        assert page.count(f">{name}</td>") == 1
        assert page.count(f">{name}</text>") == 2  # beside its dots
    for sentence in describe(comparison):
        assert sentence in page
    assert "hours of training at 0.5 per hour" in page
    assert not any(tag in page for tag in ("<script", "<link", "<img"))
