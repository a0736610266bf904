import math
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from app import admission, routes
from app.admission import BusyError, Queue, turn
from app.classifier import Prediction
from processing.decoding.decoder import Decoder
from tests.app.fixture_types import Post


def test_a_full_queue_refuses_and_a_free_place_lets_in() -> None:
    queue = Queue(places=2)
    with ExitStack() as held:
        held.enter_context(queue.place())
        held.enter_context(queue.place())
        with pytest.raises(BusyError), queue.place():
            pass
    with queue.place():
        pass


def test_predict_answers_503_at_once_when_the_queue_is_full(
    client: FlaskClient, post: Post, photo: bytes
) -> None:
    queue = client.application.extensions["queue"]
    with ExitStack() as held:
        for _ in range(8):
            held.enter_context(queue.place())
        answer = post(photo)
        assert answer.status_code == 503
        assert answer.get_json()["type"] == "/problems/busy"
        assert int(answer.headers["Retry-After"]) > 0
    assert post(photo).status_code == 200


def test_a_refused_photo_gives_its_place_back(post: Post) -> None:
    for _ in range(20):
        assert post(b"no image").status_code == 415


def test_who_waits_for_a_turn_waits_until_the_deadline() -> None:
    lock = threading.Lock()
    with lock, pytest.raises(BusyError), turn(lock, time.monotonic() + 0.05):
        pass
    with pytest.raises(BusyError), turn(lock, time.monotonic() - 1):
        pass
    assert not lock.locked()


def test_a_turn_that_lasts_too_long_is_told_to_the_router(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "STUCK_SECONDS", 0.05)
    with turn(threading.Lock(), math.inf):
        assert client.get("/readyz").status_code == 200
        time.sleep(0.1)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.text.split(":")[0]) == (503, "stuck")
        assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
    decoder: Decoder = client.application.extensions["decoder"]
    with decoder._turn(math.inf):
        time.sleep(0.1)
        assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").status_code == 200


def test_what_the_time_did_not_suffice_for_is_told(
    post: Post, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = -1.0
    monkeypatch.setattr(admission, "ANSWER_SECONDS", late)
    answer = post(photo, photo)
    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/busy")


def test_of_several_photos_those_answered_in_time_are_kept(
    client: FlaskClient, post: Post, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = client.application.extensions["model_in_service"].classifier
    classify = classifier.classify

    def classify_slowly(images: NDArray[np.uint8], deadline: float) -> list[Prediction]:
        predictions: list[Prediction] = classify(images, deadline)
        time.sleep(max(0, deadline - time.monotonic()))
        return predictions

    monkeypatch.setattr(classifier, "classify", classify_slowly)
    monkeypatch.setattr(admission, "ANSWER_SECONDS", 1)
    first, second = post(photo, photo).get_json()["images"]
    assert first["assessable"]
    assert second["error"]["type"] == "/problems/busy"
