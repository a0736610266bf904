import numpy as np
import pandas as pd
import pytest

from training.data.strata import Draw, describe_draw, draw_all, draw_balanced
from training.errors import TrainingError

CASES = pd.DataFrame(
    {
        "source": ["isic2019"] * 70 + ["milk10k"] * 30,
        "modality": ["dermoscopic"] * 85 + ["close-up"] * 15,
        "target": ([1] + [0] * 9) * 10,
        "diagnosis": "",
    }
)
TARGET = CASES["target"].to_numpy()


def share(draw: Draw, fits: pd.Series, epoch: int = 0) -> float:
    return float(draw.count_shown(epoch)[fits].sum() / draw.images)


def test_all_images_are_shown_once_and_positive_ones_as_often_as_asked() -> None:
    assert (draw_all(CASES).count_shown(3) == 1).all()
    repeated = draw_all(CASES, positives_repeated=4)
    assert (repeated.count_shown(0) == np.where(TARGET == 1, 4, 1)).all()
    assert repeated.count_classes(TARGET) == (40, 90)


def test_each_stratum_has_its_share_and_the_others_share_the_rest_by_number() -> None:
    balance = ["source:milk10k,target:1=0.25", "modality:close-up=0.3"]
    draw = draw_balanced(CASES, balance, 200, seed=1)
    melanoma = (CASES["source"] == "milk10k") & (CASES["target"] == 1)
    closeup = (CASES["modality"] == "close-up") & ~melanoma
    rest = ~melanoma & ~closeup
    assert draw.images == 200
    assert [round(share(draw, each), 3) for each in (melanoma, closeup, rest)] == [0.25, 0.3, 0.45]
    counts = draw.count_shown(0)[rest]
    assert set(counts) <= {1, 2}  # 90 draws of 83 or so images


def test_no_image_is_shown_again_before_all_others_of_its_stratum() -> None:
    draw = draw_balanced(CASES, ["target:1=0.5"], 14, seed=0)
    shown = np.cumsum([draw.count_shown(epoch) for epoch in range(30)], axis=0)
    for positive in (True, False):
        so_far = shown[:, (TARGET == 1) == positive]
        assert (np.ptp(so_far, axis=1) <= 1).all()
        assert so_far[-1].min() >= 2


def test_an_epoch_can_be_drawn_without_those_before_it() -> None:
    one, other = (draw_balanced(CASES, [], 40, seed) for seed in (1, 2))
    again = draw_balanced(CASES, [], 40, 1)
    assert (one.count_shown(7) == again.count_shown(7)).all()
    assert (one.count_shown(7) != one.count_shown(8)).any()
    assert (one.count_shown(7) != other.count_shown(7)).any()


def test_shares_are_rounded_to_the_asked_number_of_images() -> None:
    thirds = ["modality:close-up=0.333", "source:milk10k=0.333", "source:isic2019=0.334"]
    for images in (1, 2, 3, 100, 101):
        assert draw_balanced(CASES, thirds, images, 0).count_shown(0).sum() == images


def test_the_draw_is_described() -> None:
    table = describe_draw(draw_balanced(CASES, ["target:1=0.4"], 50, 0), TARGET)
    assert table.to_dict("list") == {
        "stratum": ["target:1", "all others"],
        "images": [10, 90],
        "positives": [10, 0],
        "drawn": [20, 30],
        "times": [2.0, 0.333],
    }


@pytest.mark.parametrize(
    ("balance", "complaint"),
    [
        (["target:1"], "--balance target:1: give COLUMN:VALUE.*=SHARE"),
        (["target:1=0"], "target:1=0: .* the share is more than 0"),
        (["target:1=many"], "target:1=many: give COLUMN"),
        (["age:50=0.5"], "columns are source, modality, target"),
        (["source:bcn20000=0.5"], r"no training image has source bcn20000. There are: isic2019, m"),
        (["diagnosis:nevus=0.5"], r"has diagnosis nevus. There are: \(empty\)"),
        (["source:isic2019,modality:close-up=0.5"], "left for it. No image fits both"),
        (["source:milk10k=0.2", "modality:close-up=0.5"], "An earlier --balance takes all of them"),
        (["target:1=0.7", "source:milk10k=0.7"], "the shares add up to 1.4. .* at most 1"),
        (["target:1=0.3", "target:0=0.3"], "add up to 0.6, and no image is left for the rest"),
    ],
)
def test_a_balance_that_cannot_be_followed_is_refused(balance: list[str], complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        draw_balanced(CASES, balance, 100, seed=0)
