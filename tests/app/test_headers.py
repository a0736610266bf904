import re

import pytest
from flask.testing import FlaskClient

from tests.app.fixture_types import MakeClient, Post
from tests.forms import HTML

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize("path", ["/", "/model", "/healthz", "/nothing", "/static/style.css"])
def test_every_answer_carries_the_security_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in answer.headers["Permissions-Policy"]
        assert "Strict-Transport-Security" not in answer.headers


def test_only_what_came_by_tls_through_a_trusted_proxy_asks_for_tls(
    make_client: MakeClient,
) -> None:
    by_tls = {"X-Forwarded-Proto": "https"}
    answer = make_client(ready=False, trusted_proxies=1).get("/", headers=by_tls)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    answer = make_client(ready=False).get("/", headers=by_tls)
    assert "Strict-Transport-Security" not in answer.headers


def test_a_result_is_kept_nowhere(post: Post, photo: bytes) -> None:
    assert post(photo).headers["Cache-Control"] == "no-store"


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(
    client: FlaskClient, post: Post, photo: bytes
) -> None:
    answers = (
        client.get("/"),
        client.get("/docs"),
        client.get("/model", headers=HTML),
        post(photo, headers=HTML),
    )
    for page in (answer.text for answer in answers):
        assert not re.search(r"\sstyle=|<style|\son\w+=", page)
        assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", page)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page)
