"""How many photos a sender may send, counted in Redis if there is one, else in each process.

A sender is an address, or whoever sends one of `API_KEYS`. A request costs one photo before it is
read, and each further photo in it once they are known.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, g, request
from flask_babel import gettext
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import parse_many

from config.settings import Settings

# A Redis on the same network answers within milliseconds. One that is silent costs this much, once
# in a while: the limiter asks it again after 1, 2, 4 … seconds.
_REDIS_SECONDS = 1
_SCHEME = "Bearer "


class WrongKeyError(Exception):
    """An API key that is none of `API_KEYS`; the text can be shown to the sender."""


class _Limits:
    """The rates of an app, and its limiter."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self._rate, self._key_rate = settings.rate_limit, settings.api_key_rate_limit
        url = settings.redis_url and settings.redis_url.get_secret_value()
        self.limiter = Limiter(
            self._name_sender,
            app=app,
            storage_uri=url or "memory://",
            storage_options=_redis_options() if url else {},
            # While Redis cannot be reached, each process counts on its own.
            in_memory_fallback_enabled=url is not None,
            swallow_errors=True,
        )
        self.charge = self._limit(lambda: None, cost=lambda: int(g.further_photos))

    def _limit(self, function: Callable[[], Any], cost: int | Callable[[], int] = 1) -> Any:
        return self.limiter.shared_limit(self._choose_rate, "photos", cost=cost)(function)

    def apply(self, app: Flask, endpoint: str) -> None:
        """Have each request to `endpoint` cost a photo."""
        app.view_functions[endpoint] = self._limit(app.view_functions[endpoint])

    def find_key(self) -> bytes | None:
        """Return the key of the request, if it is one of ours."""
        sent = request.headers.get("Authorization", "").removeprefix(_SCHEME).encode()
        # All are compared, and each in constant time, so that the time tells nothing of them.
        found = [key for key in self._keys if hmac.compare_digest(sent, key)]
        return found[0] if found else None

    def refuse_wrong_key(self) -> None:
        """Raise WrongKeyError if the request has a key that is none of ours."""
        claimed = request.headers.get("Authorization", "").startswith(_SCHEME)
        if self._keys and claimed and self.find_key() is None:
            raise WrongKeyError(
                gettext("This API key is not known here. Correct it, or send none.")
            )

    def _name_sender(self) -> str:
        key = self.find_key()
        # Redis gets no key in clear.
        return hashlib.sha256(key).hexdigest() if key else get_remote_address()

    def _choose_rate(self) -> str:
        rate = self._rate if self.find_key() is None else self._key_rate
        return "" if rate == "unlimited" else rate

    def cap(self, photos: int) -> int:
        """Return `photos`, or fewer where the sender's rate would never let so many pass."""
        rate = self._choose_rate()
        return min([photos, *(limit.amount for limit in parse_many(rate))]) if rate else photos


def _redis_options() -> dict[str, Any]:
    # Imported here, because an app without Redis saves it.
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "socket_connect_timeout": _REDIS_SECONDS,
        "socket_timeout": _REDIS_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }


def _limits() -> _Limits:
    limits: _Limits = current_app.extensions["limits"]
    return limits


def refuse_wrong_key() -> None:
    """Refuse a request whose API key is not known.

    Raises:
        WrongKeyError
    """
    _limits().refuse_wrong_key()


def cap_photos(photos: int) -> int:
    """Return `photos`, or fewer where the limit of this sender would never let so many pass."""
    return _limits().cap(photos)


def charge(photos: int) -> None:
    """Count the photos of a request that has been read.

    Raises:
        RateLimitExceeded: they are more than the sender may send at present.
    """
    g.further_photos = photos - 1
    if photos > 1:
        _limits().charge()


def seconds_to_wait() -> int:
    """Return the seconds until the limit that the request exceeded is reset."""
    limit = _limits().limiter.current_limit
    return max(1, round(limit.reset_at - time.time())) if limit else 1


def register(app: Flask, settings: Settings, endpoint: str) -> None:
    """Apply `RATE_LIMIT` and `API_KEY_RATE_LIMIT` to `endpoint` of `app`."""
    limits = _Limits(app, settings)
    app.extensions["limits"] = limits
    limits.apply(app, endpoint)
