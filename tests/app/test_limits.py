import io
import socket
import time
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from tests.app.fixture_types import MakeClient

JSON = {"Accept": "application/json"}


def ask(client: FlaskClient, address: str = "198.51.100.1", **headers: str) -> int:
    return client.post(
        "/predict", headers={**JSON, **headers}, environ_base={"REMOTE_ADDR": address}
    ).status_code


def test_an_address_that_asks_too_often_is_told_when_to_come_back(make_client: MakeClient) -> None:
    client = make_client(rate_limit="3 per minute")
    assert [ask(client) for _ in range(4)] == [415, 415, 415, 429]
    answer = client.post("/predict", headers=JSON, environ_base={"REMOTE_ADDR": "198.51.100.1"})
    assert answer.get_json()["type"] == "/problems/too-many-requests"
    assert 0 < int(answer.headers["Retry-After"]) <= 61
    assert ask(client, "198.51.100.2") == 415
    assert client.get("/").status_code == client.get("/readyz").status_code == 200


def test_behind_a_proxy_the_visitors_address_counts(make_client: MakeClient) -> None:
    client = make_client(rate_limit="1 per minute", trusted_proxies=1)
    assert ask(client, **{"X-Forwarded-For": "203.0.113.1"}) == 415
    assert ask(client, **{"X-Forwarded-For": "203.0.113.2"}) == 415
    # What a visitor claims stands before what the proxy saw.
    assert ask(client, **{"X-Forwarded-For": "203.0.113.9, 203.0.113.1"}) == 429


def test_without_a_proxy_nobody_can_claim_another_address(make_client: MakeClient) -> None:
    client = make_client(rate_limit="1 per minute")
    assert ask(client, **{"X-Forwarded-For": "203.0.113.1"}) == 415
    assert ask(client, **{"X-Forwarded-For": "203.0.113.2"}) == 429


@pytest.mark.parametrize("limit", ["unlimited", "1000 per hour; 50 per minute"])
def test_other_limits_can_be_set(make_client: MakeClient, limit: str) -> None:
    client = make_client(rate_limit=limit)
    assert {ask(client) for _ in range(20)} == {415}


def send(client: FlaskClient, photo: bytes, count: int, **headers: str) -> int:
    form = {"image": [(io.BytesIO(photo), "a.jpg") for _ in range(count)]}
    return client.post("/predict", data=form, headers={**JSON, **headers}).status_code


def test_each_photo_of_a_form_counts(make_client: MakeClient, small_photo: bytes) -> None:
    client = make_client(rate_limit="12 per minute")
    assert send(client, small_photo, 10) == 200
    assert send(client, small_photo, 1) == 200
    assert send(client, small_photo, 2) == 429


@pytest.mark.parametrize("limit", ["3 per minute", "1000 per hour; 3 per minute"])
def test_a_form_that_could_never_pass_is_told_how_many_photos_can(
    make_client: MakeClient, small_photo: bytes, limit: str
) -> None:
    client = make_client(rate_limit=limit, api_keys=KEY)
    form = {"image": [(io.BytesIO(small_photo), "a.jpg") for _ in range(4)]}
    answer = client.post("/predict", data=form, headers=JSON)
    assert answer.status_code == 400
    assert answer.get_json()["type"] == "/problems/too-many-images"
    assert "4 photos were sent, at most 3" in answer.get_json()["detail"]
    assert "Retry-After" not in answer.headers
    assert "Up to 3 photos" in client.get("/").text
    key = {"Authorization": f"Bearer {KEY}"}  # with a limit of its own
    assert send(client, small_photo, 4, **key) == 200
    other = make_client(rate_limit=limit)
    assert send(other, small_photo, 3) == 200


KEY = "key-of-the-clinic-1"


def test_an_api_key_has_a_limit_of_its_own(make_client: MakeClient) -> None:
    client = make_client(
        rate_limit="2 per minute", api_key_rate_limit="3 per minute", api_keys=f"{KEY},{KEY}-other"
    )
    key = {"Authorization": f"Bearer {KEY}"}
    assert [ask(client, **key) for _ in range(4)] == [415, 415, 415, 429]
    assert ask(client, "198.51.100.9", **key) == 429  # wherever it comes from
    assert ask(client, Authorization=f"Bearer {KEY}-other") == 415
    assert [ask(client) for _ in range(3)] == [415, 415, 429]


@pytest.mark.parametrize("sent", ["", "wrong", KEY + "x", KEY[:-1], "é"])
def test_a_wrong_api_key_is_refused_and_counts_for_its_address(
    make_client: MakeClient, sent: str
) -> None:
    client = make_client(rate_limit="2 per minute", api_keys=KEY)
    wrong = {"Authorization": f"Bearer {sent}", **JSON}
    answers = [client.post("/predict", headers=wrong) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert answers[0].get_json()["type"] == "/problems/wrong-api-key"
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"


def test_without_api_keys_other_authorizations_mean_nothing(make_client: MakeClient) -> None:
    assert ask(make_client(), Authorization="Bearer of-a-proxy-in-front") == 415
    assert ask(make_client(api_keys=KEY), Authorization="Basic b2Y6YS1wcm94eQ==") == 415


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a Redis that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.mark.fault("Redis accepts and never answers", "each process counts on its own")
def test_a_silent_redis_is_done_without(make_client: MakeClient, silent: str) -> None:
    client = make_client(rate_limit="3 per minute", redis_url=silent)
    started = time.monotonic()
    assert [ask(client) for _ in range(4)] == [415, 415, 415, 429]
    assert time.monotonic() - started < 10  # without a time-out it would be for ever


def test_a_redis_that_is_away_is_done_without(make_client: MakeClient) -> None:
    client = make_client(rate_limit="3 per minute", redis_url="redis://127.0.0.1:9/0")
    assert [ask(client) for _ in range(4)] == [415, 415, 415, 429]
