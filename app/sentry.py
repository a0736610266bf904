"""Reports of our errors to Sentry, if a DSN is set. They contain nothing of the visitor."""

from config.settings import Settings


def start_sentry(settings: Settings) -> None:
    """Report errors to the project of `SENTRY_DSN`; without one nothing is sent."""
    if settings.sentry_dsn is None:
        return
    import sentry_sdk  # takes a tenth of a second, which a start without Sentry saves

    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        environment=settings.sentry_environment,
        traces_sample_rate=0.1,
        # `send_default_pii=False` is not enough: an upload would be sent as a local variable of
        # a stack frame.
        data_collection={
            "user_info": False,
            "cookies": {"mode": "off"},
            "http_bodies": [],
            "url_query_params": {"mode": "off"},
            "stack_frame_variables": False,
            "http_headers": {"request": {"mode": "off"}},
        },
    )
