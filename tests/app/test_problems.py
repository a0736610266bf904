"""Each type of problem is an address where a page explains it."""

import re

import pytest
from flask.testing import FlaskClient

from app.errors import KINDS, Kind
from app.languages import LANGUAGES
from tests.forms import HTML, JSON


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_the_type_of_a_problem_is_the_address_of_its_page(client: FlaskClient, kind: Kind) -> None:
    pages = set()
    for language in LANGUAGES:
        answer = client.get(f"{kind.type}?lang={language}", headers=HTML)
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        assert f'<html lang="{language}"' in answer.text
        assert f"<code>{kind.type}</code>" in answer.text
        assert f'href="{kind.type}?lang={language}"' in answer.text  # the links to languages stay
        (said,) = re.findall(r"<h1>(.*?)</h1>\s*<p[^>]*>(.*?)</p>", answer.text)
        pages.add(said)
    assert len(pages) == len(LANGUAGES)


def test_the_type_that_a_response_names_leads_to_its_page(client: FlaskClient) -> None:
    problem = client.post("/predict", headers=JSON).get_json()
    assert problem["title"] in client.get(problem["type"]).text


def test_other_problems_have_no_page(client: FlaskClient) -> None:
    for name in ("nothing", "", "busy/", "BUSY"):
        assert client.get(f"/problems/{name}", headers=HTML).status_code == 404


def test_the_docs_lead_to_each_type(client: FlaskClient) -> None:
    page = client.get("/docs").text
    assert all(f'href="{kind.type}"' in page for kind in KINDS)
