"""How often one address may ask: counted in Redis where there is one, else in each process."""

import time
from typing import Any

from flask import Flask, current_app
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from config.settings import Settings

_LIMITER = "rate_limiter"


def seconds_to_wait() -> int:
    """Until the limit that the current request met is over."""
    limiter: Limiter = current_app.extensions[_LIMITER]
    limit = limiter.current_limit
    return max(1, round(limit.reset_at - time.time())) if limit else 1


def register(app: Flask, settings: Settings, *endpoints: str) -> None:
    """Limit some endpoints of `app` by `RATE_LIMIT`."""
    if settings.rate_limit == "unlimited":
        return
    url = settings.redis_url.get_secret_value() if settings.redis_url else "memory://"
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri=url,
        # While Redis is away each process counts for itself.
        in_memory_fallback_enabled=settings.redis_url is not None,
        swallow_errors=True,
    )
    app.extensions[_LIMITER] = limiter
    for endpoint in endpoints:
        limited: Any = limiter.limit(settings.rate_limit)(app.view_functions[endpoint])
        app.view_functions[endpoint] = limited
