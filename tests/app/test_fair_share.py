from functools import partial

import pytest

from app import fair_share
from app.fair_share import PLACES, PLACES_OF_ONE, Uploads, UploadsFullError


def test_one_sender_gets_half_of_the_places_and_of_the_memory() -> None:
    uploads = Uploads(100)
    first = [uploads.begin("192.0.2.1", int) for _ in range(PLACES_OF_ONE)]
    with pytest.raises(UploadsFullError):
        uploads.begin("192.0.2.1", int)
    first[0].take(30)
    first[1].take(20)
    with pytest.raises(UploadsFullError):
        first[1].take(1)
    uploads.begin("192.0.2.2", int).take(50)


def test_all_senders_together_get_the_places_and_keep_none_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uploads = Uploads(100)
    held = [uploads.begin(f"192.0.2.{number}", int) for number in range(PLACES)]
    for slow_seconds, ended in ((fair_share.SLOW_SECONDS, []), (0, held[:1])):
        monkeypatch.setattr(fair_share, "SLOW_SECONDS", slow_seconds)
        with pytest.raises(UploadsFullError):
            uploads.begin("198.51.100.1", int)
        assert [upload for upload in held if upload.ended] == ended
    held[0].close()
    uploads.begin("198.51.100.1", int)


def test_the_addresses_of_an_ipv6_network_are_one_sender() -> None:
    uploads = Uploads(100)
    uploads.begin("2001:db8::1", int).take(50)
    with pytest.raises(UploadsFullError):
        uploads.begin("2001:db8::ffff", int).take(1)
    uploads.begin("2001:db8:0:1::1", int).take(50)


def test_what_has_arrived_keeps_its_memory_until_the_answer_and_no_place() -> None:
    uploads = Uploads(100)
    for _ in range(PLACES_OF_ONE + 1):
        upload = uploads.begin("192.0.2.1", int)
        upload.arrive()
    held = uploads.begin("192.0.2.1", int)
    held.take(50)
    held.arrive()
    uploads.begin("192.0.2.1", int).take(50)
    with pytest.raises(UploadsFullError):
        uploads.begin("192.0.2.2", int).take(1)
    held.close()
    uploads.begin("192.0.2.2", int).take(50)


def test_a_slow_upload_ends_when_others_need_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(100)
    ended: list[str] = []
    slow = [
        uploads.begin(address, partial(ended.append, address))
        for address in ("192.0.2.1", "192.0.2.2")
    ]
    for upload in slow:
        upload.take(50)
    other = uploads.begin("192.0.2.3", int)
    with pytest.raises(UploadsFullError):
        other.take(1)
    assert not ended  # they have only just begun
    monkeypatch.setattr(fair_share, "SLOW_SECONDS", 0)
    with pytest.raises(UploadsFullError):
        other.take(1)
    assert ended == ["192.0.2.1"]
    assert slow[0].ended
    slow[0].close()
    other.take(50)
