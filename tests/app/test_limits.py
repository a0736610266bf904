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
