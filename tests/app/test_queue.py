from contextlib import ExitStack

import pytest

from app.queue import BusyError, Queue


def test_a_full_queue_refuses_and_a_free_place_lets_in():
    queue = Queue(places=2)
    with ExitStack() as held:
        held.enter_context(queue.place())
        held.enter_context(queue.place())
        with pytest.raises(BusyError), queue.place():
            pass
    with queue.place():
        pass


def test_predict_answers_503_at_once_when_the_queue_is_full(client, post, photo):
    queue = client.application.extensions["queue"]
    with ExitStack() as held:
        for _ in range(8):
            held.enter_context(queue.place())
        answer = post(photo)
        assert answer.status_code == 503
        assert answer.json["type"] == "/problems/busy"
        assert int(answer.headers["Retry-After"]) > 0
    assert post(photo).status_code == 200


def test_a_refused_photo_gives_its_place_back(post):
    for _ in range(20):
        assert post(b"no image").status_code == 415
