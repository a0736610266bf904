"""The app's settings, read from environment variables and validated once at start-up."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from limits import parse_many
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_CACHE = Path(__file__).parents[1] / "app" / "model" / "cache"

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


_TOKEN_CHARACTERS = 16
_KEY = re.compile(rf"[!-~]{{{_TOKEN_CHARACTERS},}}")  # what a header can carry
# As a browser sends it: no path, no wildcard, and no capitals, which would never match.
_ORIGIN = re.compile(r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
# The last label begins with a letter, so that a mistyped IPv4 address is not taken for a host name.
_HOST_NAME = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z]([a-z0-9-]*[a-z0-9])?", re.I)


def _check_rate(rate: str) -> str:
    if rate != "unlimited" and not all(limit.amount > 0 for limit in parse_many(rate)):
        raise ValueError
    return rate


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class SettingsError(Exception):
    """One line for each wrong variable: its name, its value and what is accepted."""


class Settings(BaseSettings):
    """Settings of the app: each field is the environment variable of that name in capitals.

    A field's description completes the sentence "accepted: …" in the error of a wrong value.
    An empty variable counts as unset. AWS's own variables are read by boto3.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    model_uri: str | None = Field(
        None, description="s3://bucket/prefix or a folder that exists (unset: the embedded model)"
    )
    model_fallback: Literal["default"] | None = Field(
        None, description='"default" (the embedded model answers until MODEL_URI is ready) or unset'
    )
    model_refresh_seconds: int = Field(
        60, ge=1, le=86400, description="a whole number from 1 to 86400"
    )
    model_cache: Path = Field(_CACHE, description="a folder that can be created or written to")
    sentry_dsn: SecretStr | None = Field(
        None, description="https://KEY@HOST/PROJECT as Sentry shows it, or unset (nothing is sent)"
    )
    sentry_environment: str = Field("production", description="any name")
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="exact origins such as https://example.org, in small letters, without *, with "
        "commas between, or unset (none)",
    )
    rate_limit: Annotated[str, AfterValidator(_check_rate)] = Field(
        "60 per minute", description='such as "60 per minute", several with ; between, or unlimited'
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="secrets of 16 visible ASCII characters or more, with commas between, or unset",
    )
    api_key_rate_limit: Annotated[str, AfterValidator(_check_rate)] = Field(
        "600 per minute",
        description='such as "600 per minute", several with ; between, or unlimited',
    )
    redis_url: SecretStr | None = Field(
        None, description="redis://… or rediss://…, or unset (each process counts on its own)"
    )
    trusted_proxies: int = Field(0, ge=0, le=5, description="a whole number from 0 to 5")
    metrics_token: SecretStr | None = Field(
        None, description="a secret of 16 characters or more, or unset (no metrics)"
    )
    log_format: Literal["text", "json"] = Field("text", description="text or json")
    max_upload_mb: int = Field(20, ge=1, le=1000, description="a whole number from 1 to 1000")
    upload_seconds: int = Field(120, ge=1, le=3600, description="a whole number from 1 to 3600")
    log_level: Annotated[LogLevel, BeforeValidator(str.upper)] = Field(
        "INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )
    host: str | None = Field(
        None, description="an IP address such as 127.0.0.1 or ::1, or a host name"
    )
    port: int | None = Field(None, ge=1, le=65535, description="a whole number from 1 to 65535")
    web_concurrency: int = Field(1, ge=1, le=64, description="a whole number from 1 to 64")

    @property
    def max_upload_bytes(self) -> int:
        """The largest request body that is read."""
        return self.max_upload_mb * 1_000_000

    @property
    def bind(self) -> str:
        """The address to listen on, as gunicorn expects it: HOST:PORT, IPv6 in brackets."""
        # Heroku sets PORT alone, and its router comes from outside of the dyno.
        host = self.host or ("0.0.0.0" if self.port else "127.0.0.1")  # nosec B104
        return f"{f'[{host}]' if ':' in host else host}:{self.port or 8000}"

    @field_validator("host")
    @classmethod
    def _host_is_an_address_or_a_name(cls, host: str | None) -> str | None:
        if host is None or _HOST_NAME.fullmatch(host):
            return host
        if "%" in host:  # gunicorn takes no IPv6 zone
            raise ValueError
        ipaddress.ip_address(host)
        return host

    @field_validator("model_uri")
    @classmethod
    def _uri_can_be_read(cls, uri: str | None) -> str | None:
        if uri is None or Path(uri).is_dir():
            return uri
        scheme, _, rest = uri.partition("://")
        if scheme != "s3" or not rest.partition("/")[0]:
            raise ValueError
        return uri

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError
        return url

    @field_validator("metrics_token")
    @classmethod
    def _token_is_long(cls, token: SecretStr | None) -> SecretStr | None:
        if token and len(token.get_secret_value()) < _TOKEN_CHARACTERS:
            raise ValueError
        return token

    @field_validator("api_keys")
    @classmethod
    def _keys_are_long(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(_KEY.fullmatch(key.get_secret_value()) for key in keys):
            raise ValueError
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError
        return origins

    @field_validator("sentry_dsn")
    @classmethod
    def _dsn_is_complete(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn is None:
            return None
        scheme, _, rest = dsn.get_secret_value().partition("://")
        key, _, host_and_project = rest.partition("@")
        host, _, project = host_and_project.rpartition("/")
        if scheme not in ("http", "https") or not (key and host and project):
            raise ValueError
        return dsn


def read_settings() -> Settings:
    """Read and validate the environment.

    Raises:
        SettingsError: one line for each wrong variable; a secret's value is not shown.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [_explain(str(fault["loc"][0]), fault["input"]) for fault in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from error


def _explain(name: str, value: object) -> str:
    field = Settings.model_fields[name]
    shown = "" if "SecretStr" in str(field.annotation) else f" {str(value)!r}"
    return f"{name.upper()}: wrong value{shown}; accepted: {field.description}"
