from pathlib import Path

import pytest

from config.settings import Settings, SettingsError, read_settings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_without_variables_the_embedded_model_is_served_and_nothing_is_sent() -> None:
    settings = read_settings()
    assert settings.model_uri is None
    assert settings.model_fallback is None
    assert settings.sentry_dsn is None
    assert settings.max_upload_bytes == 20_000_000
    assert settings.web_concurrency == 1


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODEL_URI", "s3://models/melanoma")
    monkeypatch.setenv("MODEL_FALLBACK", "default")
    monkeypatch.setenv("MODEL_CACHE", str(tmp_path))
    monkeypatch.setenv("LOG_LEVEL", "debug")
    monkeypatch.setenv("PORT", "5000")
    settings = read_settings()
    assert settings.model_uri == "s3://models/melanoma"
    assert settings.model_fallback == "default"
    assert settings.model_cache == Path(tmp_path)
    assert settings.log_level == "DEBUG"
    assert settings.port == 5000


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    assert read_settings() == Settings()


@pytest.mark.parametrize(
    ("host", "port", "bind"),
    [
        ("", "", "127.0.0.1:8000"),
        ("", "5000", "0.0.0.0:5000"),
        ("127.0.0.1", "9000", "127.0.0.1:9000"),
        ("0.0.0.0", "", "0.0.0.0:8000"),
        ("::1", "9000", "[::1]:9000"),
        ("localhost", "", "localhost:8000"),
        ("app-1.example.org", "9000", "app-1.example.org:9000"),
    ],
)
def test_host_and_port_say_where_to_listen(
    monkeypatch: pytest.MonkeyPatch, host: str, port: str, bind: str
) -> None:
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("PORT", port)
    assert read_settings().bind == bind


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_URI", "http://example.org/model"),
        ("MODEL_URI", "s3://"),
        ("CORS_ORIGINS", "example.org"),
        ("RATE_LIMIT", "often"),
        ("RATE_LIMIT", "0 per minute"),
        ("API_KEY_RATE_LIMIT", "60"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://*.example.org"),
        ("CORS_ORIGINS", "https://example.org,https://a*"),
        ("CORS_ORIGINS", "https://Example.org"),
        ("CORS_ORIGINS", "https://example.org/"),
        ("CORS_ORIGINS", "https://(a|b).example.org"),
        ("TRUSTED_PROXIES", "all"),
        ("LOG_FORMAT", "xml"),
        ("CORS_ORIGINS", "https://example.org,"),
        ("MODEL_URI", "/no/such/folder"),
        ("MODEL_FALLBACK", "yes"),
        ("MAX_UPLOAD_MB", "many"),
        ("MAX_UPLOAD_MB", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("PORT", "65536"),
        ("HOST", "127.0.0"),
        ("HOST", "127.0.0.256"),
        ("HOST", "[::1]"),
        ("HOST", "fe80::1%eth0"),
        ("HOST", "127.0.0.1:9000"),
        ("HOST", "two words"),
        ("WEB_CONCURRENCY", "-1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refusal:
        read_settings()
    message = str(refusal.value)
    assert message.startswith(f"{name}: wrong value {value!r}; accepted: ")
    assert "\n" not in message


def test_each_wrong_variable_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("MAX_UPLOAD_MB", "x")
    with pytest.raises(SettingsError) as refusal:
        read_settings()
    assert {line.split(":")[0] for line in str(refusal.value).splitlines()} == {
        "PORT",
        "MAX_UPLOAD_MB",
    }


@pytest.mark.parametrize("name", ["SENTRY_DSN", "REDIS_URL", "METRICS_TOKEN", "API_KEYS"])
def test_a_wrong_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "verysecret")
    with pytest.raises(SettingsError, match=f"{name}: wrong value; accepted") as refusal:
        read_settings()
    assert "verysecret" not in str(refusal.value)


@pytest.mark.parametrize(
    "keys", ["a-key-of-some-length,short", "a-key-of-some-length,", "k" * 16 + "é"]
)
def test_each_api_key_has_to_be_long_and_fit_a_header(
    monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setenv("API_KEYS", keys)
    with pytest.raises(SettingsError, match="^API_KEYS: wrong value; accepted"):
        read_settings()


def test_several_api_keys_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "a-key-of-some-length, another-key-of-length")
    keys = read_settings().api_keys
    assert [key.get_secret_value() for key in keys] == [
        "a-key-of-some-length",
        "another-key-of-length",
    ]


def test_a_secret_is_not_shown_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRY_DSN", "https://verysecret@example.org/1")
    assert "verysecret" not in repr(read_settings())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings().port = 1  # type: ignore[misc]
