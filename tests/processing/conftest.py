"""Stores of both kinds, and ways to damage what is in them."""

from collections.abc import Callable
from pathlib import Path

import pytest

Damage = Callable[[str, str, bytes | None], None]


@pytest.fixture
def folder_uri(tmp_path: Path) -> str:
    """An empty store in a folder."""
    (tmp_path / "store").mkdir()
    return str(tmp_path / "store")


@pytest.fixture
def s3_uri(bucket: str) -> str:
    """An empty store in a bucket."""
    return f"s3://{bucket}/melanoma"


@pytest.fixture(params=["folder_uri", "s3_uri"])
def uri(request: pytest.FixtureRequest) -> str:
    """An empty store, of either kind."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The folder for bundles from S3, which does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture
def damage(request: pytest.FixtureRequest) -> Damage:
    """A function that overwrites or deletes the object at a key without the store."""

    def overwrite(uri: str, key: str, content: bytes | None) -> None:
        if uri.startswith("s3://"):
            bucket, prefix = uri.removeprefix("s3://").split("/")
            where = {"Bucket": bucket, "Key": f"{prefix}/{key}"}
            client = request.getfixturevalue("s3").client
            if content is None:
                client.delete_object(**where)
            else:
                client.put_object(**where, Body=content)
        elif content is None:
            Path(uri, key).unlink()
        else:
            Path(uri, key).write_bytes(content)

    return overwrite
