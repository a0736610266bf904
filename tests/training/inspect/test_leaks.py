import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from etils import epath

from tests.training.archives import build_isic2019, write_isic2019
from tests.training.kaggle_sets import write_kaggle_set
from tests.training.tables import make_cases
from training.data.folder import read_data
from training.data.kaggle import read_jpeg
from training.data.tfrecords import encode_example, write_shard
from training.errors import TrainingError
from training.inspect.leaks import (
    Check,
    audit_data,
    compare_shards,
    compare_test_set,
    find_differing_records,
    render,
    run_audit,
    tabulate_records,
)


def flip_bits(phash: str, bits: int) -> str:
    return f"{int(phash, 16) ^ (2**bits - 1):064x}"


def found_by(checks: list[Check]) -> dict[str, list[list[str]]]:
    """Return the findings of the checks that found something."""
    return {check.what: check.found.to_numpy().tolist() for check in checks if len(check.found)}


def test_a_clean_data_set_has_no_findings_and_everything_was_compared() -> None:
    checks = compare_shards(make_cases(), "here")
    assert found_by(checks) == {}
    assert [check.compared for check in checks] == [12, 24, 12, 48, 48]


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        ({"patient_id": "P_2"}, {"patients": [["P_2", "", "shards 0, 2"]]}),
        ({"lesion_id": "L_4"}, {"lesions": [["L_4", "", "shards 0, 2"]]}),
        ({"group": "P_2"}, {"groups": [["P_2", "", "shards 0, 2"]]}),
        ({"image_name": "IMAGE_9"}, {"image names": [["IMAGE_9", "", "shards 0, 2"]]}),
        ({"image_name": "IMAGE_1"}, {"image names": [["IMAGE_1", "", "shards 0, 0"]]}),
        (
            {"image_name": "IMAGE_9_downsampled"},
            {"image names": [["IMAGE_9", "", "shards 0, 2"]]},
        ),
    ],
)
def test_what_two_shards_share_is_found(changes: dict[str, Any], findings: dict[str, Any]) -> None:
    cases = make_cases()
    cases.loc[0, list(changes)] = list(changes.values())
    assert found_by(compare_shards(cases, "here")) == findings


def test_pictures_that_look_the_same_in_two_shards_are_found() -> None:
    cases = make_cases()
    cases.loc[0, "phash"] = flip_bits(cases["phash"][9], 3)
    assert found_by(compare_shards(cases, "here")) == {
        "near-duplicate pictures": [
            ["IMAGE_0", "IMAGE_9", "3 of 256 bits differ, shards 0, 2"],
        ]
    }


def test_pictures_that_look_the_same_in_one_shard_leak_nothing() -> None:
    cases = make_cases()
    cases.loc[0, "phash"] = flip_bits(cases["phash"][1], 3)
    assert found_by(compare_shards(cases, "here")) == {}


def test_pictures_without_structure_are_not_compared() -> None:
    cases = make_cases()
    cases.loc[[0, 9], "phash"] = ""
    pictures = compare_shards(cases, "here")[-1]
    assert pictures.found.empty
    assert pictures.compared == 46


def test_unknown_patients_are_not_one_patient() -> None:
    cases = make_cases().assign(patient_id="")
    checks = compare_shards(cases, "here") + compare_test_set(cases, make_cases("T", 1), "there")
    assert found_by(checks) == {}
    assert [check.compared for check in checks if check.what == "patients"] == [0, 0]


def test_a_test_set_apart_is_clean_and_was_compared() -> None:
    checks = compare_test_set(make_cases(), make_cases("T", seed=1), "there")
    assert found_by(checks) == {}
    assert [check.compared for check in checks] == [12, 24, 48, 48]


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        (
            {"patient_id": "P_2"},
            {"patients": [["P_2", "", "images: 4 here, 1 in the test set"]]},
        ),
        ({"lesion_id": "L_4"}, {"lesions": [["L_4", "", "images: 2 here, 1 in the test set"]]}),
        (
            {"image_name": "IMAGE_9_downsampled"},
            {"image names": [["IMAGE_9", "", "images: 1 here, 1 in the test set"]]},
        ),
        (
            {"phash": flip_bits(make_cases()["phash"][9], 5)},
            {"near-duplicate pictures": [["IMAGE_9", "TIMAGE_0", "5 of 256 bits differ"]]},
        ),
    ],
)
def test_what_a_test_set_shares_is_found(changes: dict[str, Any], findings: dict[str, Any]) -> None:
    test = make_cases("T", seed=1)
    test.loc[0, list(changes)] = list(changes.values())
    assert found_by(compare_test_set(make_cases(), test, "there")) == findings


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[epath.Path]:
    """Shards of the records of `make_cases`, without real images."""
    folder = epath.Path(tmp_path_factory.mktemp("records"))
    paths = []
    for number, members in make_cases().assign(patient_code=-1).groupby("shard"):
        paths.append(folder / f"train{number:02d}-12.tfrec")
        write_shard(
            paths[-1], (encode_example(case, b"jpeg") for case in members.to_dict("records"))
        )
    return paths


def test_records_that_equal_the_table_are_clean(shards: list[epath.Path]) -> None:
    records = tabulate_records(shards)
    assert len(records) == 48
    assert find_differing_records(make_cases(), records).empty


@pytest.mark.parametrize(
    ("column", "value", "listed"),
    [
        ("target", 1, "shard 0, group P_0, target 1"),
        ("group", "P_2", "shard 0, group P_2, target 0"),
        ("shard", 2, "shard 2, group P_0, target 0"),
    ],
)
def test_a_record_unlike_its_row_is_found(
    shards: list[epath.Path], column: str, value: object, listed: str
) -> None:
    cases = make_cases()
    cases.loc[0, column] = value
    found = find_differing_records(cases, tabulate_records(shards)).to_numpy().tolist()
    assert sorted(found) == [
        ["IMAGE_0", "", f"only in {place}"]
        for place in (
            "a record: shard 0, group P_0, target 0",
            f"cases.csv: {listed}",
        )
    ]


def test_missing_unlisted_and_repeated_records_are_found(shards: list[epath.Path]) -> None:
    records = tabulate_records(shards)
    records = pd.concat([records[records["image_name"] != "IMAGE_0"], records[-1:]])
    found = find_differing_records(make_cases().drop(index=1), records)
    assert found.to_numpy().tolist() == [
        ["IMAGE_0", "", "only in cases.csv: shard 0, group P_0, target 0"],
        ["IMAGE_1", "", "only in a record: shard 0, group P_0, target 0"],
        ["IMAGE_47", "", "only in a record: shard 3, group P_11, target 0"],
    ]


def test_a_damaged_shard_is_named(shards: list[epath.Path], tmp_path: Path) -> None:
    torn = epath.Path(tmp_path) / shards[0].name
    torn.write_bytes(shards[0].read_bytes()[:-5])
    with pytest.raises(TrainingError, match=r"train00-12.tfrec: .*Build the data set again"):
        tabulate_records([torn])


def test_a_clean_folder_and_a_test_set_apart_pass(
    data: epath.Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_isic2019(tmp_path / "archive", melanomas=8, nevi=8, first=200)
    build_isic2019(archive, tmp_path / "test")
    assert run_audit(data, [epath.Path(tmp_path / "test")], None)
    printed = capsys.readouterr().out
    assert "No leak found." in printed
    assert re.search(r"patients +not known here", printed)
    assert re.search(r"near-duplicate pictures +none of 80", printed)
    assert printed.count("records unlike cases.csv") == 2


def test_a_leak_is_printed_and_written_whole(
    data: epath.Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run_audit(data, [data], epath.Path(tmp_path / "found.csv"))
    printed = capsys.readouterr().out
    assert re.search(r"image names +80  <- LEAK", printed)
    assert "and 75 more" in printed
    found = pd.read_csv(tmp_path / "found.csv")
    assert (found["what"] == "image names").sum() == 80
    assert list(found.columns) == ["where", "what", "found", "other", "detail"]


def test_a_shard_in_place_of_another_is_found(data: epath.Path, tmp_path: Path) -> None:
    copy = epath.Path(shutil.copytree(data, tmp_path / "copy"))
    there = read_data(copy)
    one, other = there.shards([0, 1])
    one.write_bytes(other.read_bytes())
    records = audit_data(there, []).checks[-1]
    assert records.what == "records unlike cases.csv"
    wrong = there.cases.loc[there.cases["shard"].isin([0, 1]), "image_name"]
    assert set(records.found["found"]) == set(wrong)


def test_pictures_of_a_public_set_are_compared(data: epath.Path, tmp_path: Path) -> None:
    # Lesions 0, 4, ... 28 are drawn in both as melanomas, 33, 34, 35, 37, ... 79 as nevi.
    public = epath.Path(write_kaggle_set(tmp_path / "public", images=80, size=64))
    report = audit_data(read_data(data), [read_data(public)])
    pictures = found_by(report.checks)["near-duplicate pictures"]
    found_in_both = {found[-7:] for found, _, _ in pictures}
    in_both = {f"{i:07d}" for i in range(80) if (i < 32) == (i % 4 == 0)}
    assert found_in_both <= in_both
    assert len(found_in_both) > 0.8 * len(in_both)  # drawn at another size, a few differ by more
    assert all(found[-7:] == other[-7:] for found, other, _ in pictures)


def test_an_unreadable_image_of_a_public_set_is_named(tmp_path: Path) -> None:
    there = read_data(epath.Path(write_kaggle_set(tmp_path / "public", images=24, size=64)))
    path = there.cases["path"][3]
    jpeg, shard = read_jpeg(path), epath.Path(path.rpartition("#")[0])
    shard.write_bytes(shard.read_bytes().replace(jpeg, bytes(len(jpeg))))
    with pytest.raises(TrainingError, match=f"{path} holds no image that can be read"):
        audit_data(there, [])


def test_a_public_set_can_be_the_data(tmp_path: Path) -> None:
    public = epath.Path(write_kaggle_set(tmp_path / "public", images=24, size=64))
    report = audit_data(read_data(public), [])
    assert found_by(report.checks) == {}
    assert report.shortcuts[0].columns == ("age_approx",)


def test_counts_and_baselines_are_shown_by_source_and_kind_of_photo(data: epath.Path) -> None:
    """Half of the melanomas are from an archive of melanomas, which is not scored."""
    there = read_data(data)
    cases = there.cases
    of_archive = (cases["target"] == 1) & (cases.index % 2 == 0)
    cases = cases.assign(
        source=cases["source"].mask(of_archive, "archive"),
        modality=cases["modality"].mask(cases.index % 5 == 0, "close-up"),
    )
    settings = there.build.settings.model_copy(update={"extra_sources": ("archive",)})
    build = there.build.model_copy(update={"settings": settings})
    report = audit_data(there._replace(cases=cases, build=build), [])
    strata = report.strata[str(data)]
    assert strata["images"].sum() == 80
    assert [each.columns for each in report.origins] == [("source",), ("modality",)]
    assert ("source",) not in {each.columns for each in report.shortcuts}  # one source is scored
    printed = render(report)
    count = of_archive.sum() - (of_archive & (cases["modality"] == "close-up")).sum()
    assert re.search(rf"archive +dermoscopic +{count} +{count} +100.0%", printed)
    assert "every image of archive is positive (trained on, never scored)" in printed
    assert "every image of isic2019" not in printed


def test_a_folder_of_one_class_is_audited_without_shortcuts(data: epath.Path) -> None:
    there = read_data(data)
    report = audit_data(there._replace(cases=there.cases.assign(target=0)), [])
    assert report.shortcuts == []
    assert "not measured: positive and negative" in render(report)
