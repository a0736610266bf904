"""Reports of our errors to Sentry, if a DSN is set. They contain nothing of the visitor."""

from typing import TYPE_CHECKING, Any

from config.settings import Settings

if TYPE_CHECKING:
    from sentry_sdk.types import Event

# What is sent of a report; what later versions of the SDK may add is not among it.
_KEPT = {
    *("event_id", "timestamp", "level", "platform", "sdk", "environment", "release", "server_name"),
    *("logger", "logentry", "message", "exception", "contexts", "extra", "modules", "tags"),
}
_CONTEXTS = {"runtime", "trace"}


def start_sentry(settings: Settings) -> None:
    """Report errors to the project of `SENTRY_DSN`; without one nothing is sent."""
    if settings.sentry_dsn is None:
        return
    import sentry_sdk  # takes a tenth of a second, which a start without Sentry saves

    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        environment=settings.sentry_environment,
        # Reports come from the log and from threads that end. The integration with Flask would
        # take over addresses, and a visitor's own values of tracing.
        auto_enabling_integrations=False,
        max_breadcrumbs=0,
        include_local_variables=False,
        before_send=_strip,
    )


def _strip(event: "Event", _hint: dict[str, Any]) -> "Event":
    """Keep what is known to be ours; the text of an exception may quote a visitor."""
    kept: dict[str, Any] = {name: value for name, value in event.items() if name in _KEPT}
    contexts = kept.get("contexts", {})
    kept["contexts"] = {name: contexts[name] for name in _CONTEXTS & contexts.keys()}
    for exception in kept.get("exception", {}).get("values", ()):
        exception.pop("value", None)
    return kept  # type: ignore[return-value]
