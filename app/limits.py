"""Rate limits per client address, counted in Redis if there is one, else in each process."""

import time
from typing import Any

from flask import Flask, current_app
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from config.settings import Settings

_LIMITER = "rate_limiter"


def seconds_to_wait() -> int:
    """Return the seconds until the limit that the request exceeded is reset."""
    limiter: Limiter = current_app.extensions[_LIMITER]
    limit = limiter.current_limit
    return max(1, round(limit.reset_at - time.time())) if limit else 1


def register(app: Flask, settings: Settings, *endpoints: str) -> None:
    """Apply `RATE_LIMIT` to `endpoints` of `app`."""
    if settings.rate_limit == "unlimited":
        return
    url = settings.redis_url.get_secret_value() if settings.redis_url else "memory://"
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri=url,
        # While Redis cannot be reached, each process counts on its own.
        in_memory_fallback_enabled=settings.redis_url is not None,
        swallow_errors=True,
    )
    app.extensions[_LIMITER] = limiter
    for endpoint in endpoints:
        limited: Any = limiter.limit(settings.rate_limit)(app.view_functions[endpoint])
        app.view_functions[endpoint] = limited
