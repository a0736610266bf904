import io
import re

import pytest
from flask.testing import FlaskClient

from app.trust import list_records
from processing.bundle import Bundle
from tests.app.fixture_types import MakeBundle, MakeClient
from tests.forms import HTML


def test_photos_that_the_model_had_never_seen_come_first_and_the_most_of_them(
    served: Bundle,
) -> None:
    records = list_records(served.manifest, "dermoscopic")
    assert [record.unseen for record in records] == [True] * (len(records) - 1) + [False]
    sizes = [record.images or 0 for record in records[:-1]]
    assert len(sizes) > 1
    assert sizes == sorted(sizes, reverse=True)
    held_out = served.manifest.modalities["dermoscopic"].in_force
    assert records[-1].sensitivity == held_out.sensitivity
    assert held_out.measured_on.endswith(
        f"{records[-1].images} images, {records[-1].positives} melanomas"
    )


def test_what_was_measured_on_photos_of_unknown_number_is_shown_in_its_own_words(
    make_client: MakeClient, make_bundle: MakeBundle, photo: bytes
) -> None:
    manifest = make_bundle("plain").manifest
    point = manifest.in_force.model_dump()
    point |= {"measured_on": "photos of a friend", "images": None, "positives": None}
    bundle = make_bundle(operating_points=[point], operating_point=point["name"], modalities={})
    form = {"image": (io.BytesIO(photo), "a.jpg")}
    client = make_client(model_uri=str(bundle.path))
    assert "photos of a friend" in client.post("/predict?lang=de", data=form, headers=HTML).text


def test_no_test_set_of_dermoscopic_photos_speaks_for_close_ups(served: Bundle) -> None:
    (record,) = list_records(served.manifest, "close-up")
    assert record.specificity == served.manifest.modalities["close-up"].in_force.specificity
    assert not record.unseen


def test_what_is_flagged_rightly_follows_from_sensitivity_and_specificity(served: Bundle) -> None:
    (record,) = list_records(served.manifest, "close-up")
    # Of 10,000 spots, 100 are melanomas.
    flagged_rightly = 100 * record.sensitivity.value
    flagged_wrongly = 9_900 * (1 - record.specificity.value)
    share = flagged_rightly / (flagged_rightly + flagged_wrongly)
    assert record.flagged_rightly.value == pytest.approx(share)
    assert record.flagged_rightly.low < share < record.flagged_rightly.high


@pytest.mark.parametrize(
    ("language", "names"),
    [
        ("en", ("ISIC 2017 test set", "part of ISIC 2020")),
        ("de", ("Testdaten von ISIC 2017", "Teil von ISIC 2020")),
        ("es", ("conjunto de prueba de ISIC 2017", "parte de ISIC 2020")),
    ],
)
def test_test_sets_are_told_by_what_they_are(
    client: FlaskClient, photo: bytes, language: str, names: tuple[str, str]
) -> None:
    form = {"image": (io.BytesIO(photo), "a.jpg")}
    answer = client.post(f"/predict?lang={language}", data=form, headers=HTML).text
    facts = answer[answer.index('<details class="card facts"') :]
    model = client.get(f"/model?lang={language}", headers=HTML).text
    for name, folder in zip(names, ("isic2017-test", "isic2020-part"), strict=True):
        assert f"({name}:" in facts
        assert folder not in facts
        assert re.search(f"<code>{folder}</code></dt><dd>{name}</dd>", model)


def test_the_model_page_begins_with_five_lines_for_everyone(
    client: FlaskClient, served: Bundle
) -> None:
    best = list_records(served.manifest, None)[0]
    page = client.get("/model", headers=HTML).text
    summary = page[page.index("In short") : page.index("Current model")]
    assert summary.count("<li>") == 5
    assert f"it flagged {100 * best.sensitivity.value:.0f} of 100 with melanoma" in summary
    assert page.index("In short") < page.index("model-card")
