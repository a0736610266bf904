"""A store in an S3 bucket, at Amazon or elsewhere. `open_store` imports it when needed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from processing.bundle import FILES, MANIFEST, MAX_MANIFEST_BYTES, Bundle
from processing.files import filling
from processing.store.base import (
    INCOMPLETE,
    Progress,
    Published,
    Store,
    StoreError,
    bundle_key,
    locked,
    verify_manifest,
    verify_version,
)

CONFIG: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 4},
}
_KEYS_REFUSED = "refuses the keys. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
_NO_RIGHT = "is closed to these keys. Grant them s3:GetObject, s3:PutObject and s3:ListBucket."
_FAULTS = {
    "NoSuchBucket": "is in a bucket that does not exist. Create it, or correct the address.",
    "404": f"is missing. {INCOMPLETE}",
    "403": _NO_RIGHT,
    "AccessDenied": _NO_RIGHT,
    "InvalidAccessKeyId": _KEYS_REFUSED,
    "SignatureDoesNotMatch": _KEYS_REFUSED,
    "NoCredentialsError": "needs keys. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
}

logger = logging.getLogger(__name__)


class S3Store(Store):
    """A store whose objects are S3 objects and whose tags are their ETags."""

    def __init__(self, uri: str, bucket: str, prefix: str):
        super().__init__(uri)
        self._bucket = bucket
        self._prefix = prefix and f"{prefix}/"
        # Only few servers besides Amazon's have a host name for each bucket.
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        config = Config(**CONFIG, s3={"addressing_style": "path"} if endpoint else None)
        try:
            # boto3.client would keep its first keys for the life of the process.
            self._client: Any = boto3.Session().client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise StoreError(f"{error}. Check the environment variables AWS_*.") from error

    def list_versions(self) -> list[str]:
        """List the versions that have a manifest, in the order in which they were stored."""
        with self._faults_explained("bundles"):
            paginator = self._client.get_paginator("list_objects_v2")
            pages = paginator.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}bundles/")
            objects = [found for page in pages for found in page.get("Contents", ())]
        manifests = [found for found in objects if found["Key"].endswith(f"/{MANIFEST}")]
        manifests.sort(key=lambda found: found["LastModified"])
        return [found["Key"].split("/")[-2] for found in manifests]

    def open_version(self, published: Published, cache: Path) -> Bundle:
        """Return a verified copy in `cache`; one process at a time downloads."""
        folder = cache / published.version
        where = f"{self.uri}/{bundle_key(published.version)}"
        with locked(cache):
            # Downloaded before, or by another process while this one waited for the lock.
            with suppress(StoreError):
                return verify_version(published, folder, where)
            with filling(folder, locked=True, sync=True) as partial:
                key = bundle_key(published.version, MANIFEST)
                self._download(key, partial / MANIFEST, MAX_MANIFEST_BYTES)
                manifest = verify_manifest(published, partial, where)
                for name, entry in manifest.files.items():
                    key = bundle_key(published.version, name)
                    self._download(key, partial / name, entry.size_bytes)
                verify_version(published, partial, where)
        logger.info("Downloaded model %s from %s", published.version, self.uri)
        return Bundle(folder, manifest)

    def _download(self, key: str, path: Path, max_bytes: int) -> None:
        with self._faults_explained(key):
            found = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            self._refuse_large(key, found, max_bytes)
            # Unlike get_object, this resumes when the body stalls or ends early.
            self._client.download_file(self._bucket, self._prefix + key, str(path))

    def _refuse_large(self, key: str, found: Any, max_bytes: int) -> None:
        if found["ContentLength"] > max_bytes:
            raise StoreError(f"{self.uri}/{key} is larger than {max_bytes} bytes. {INCOMPLETE}")

    def _read(self, key: str) -> tuple[bytes, str] | None:
        with self._faults_explained(key), suppress(self._client.exceptions.NoSuchKey):
            found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            self._refuse_large(key, found, MAX_MANIFEST_BYTES)
            return found["Body"].read(), found["ETag"]
        return None

    def _write(self, key: str, content: bytes, tag: str | None) -> bool:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        where = {"Bucket": self._bucket, "Key": self._prefix + key}
        with self._faults_explained(key):
            try:
                self._client.put_object(**where, **condition, Body=content)
            except ClientError as error:
                # 412: it has another tag. 409: two writes at once. 404: it was deleted meanwhile.
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 409, 412):
                    return False
                raise
        return True

    def _add(self, bundle: Bundle, progress: Progress | None) -> None:
        for name in FILES:
            key = bundle_key(bundle.manifest.version, name)
            with self._faults_explained(key), (bundle.path / name).open("rb") as file:
                where = (self._bucket, self._prefix + key)
                self._client.upload_fileobj(file, *where, Callback=progress)
        manifest = (bundle.path / MANIFEST).read_bytes()
        # If another publisher of this version was faster, that manifest stays.
        self._write(bundle_key(bundle.manifest.version, MANIFEST), manifest, tag=None)

    @contextmanager
    def _faults_explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._explain(key, error.response["Error"]["Code"], error) from error
        except (BotoCoreError, Boto3Error) as error:
            cause = getattr(error, "last_exception", error)
            raise self._explain(key, type(error).__name__, cause) from error

    def _explain(self, key: str, code: str, cause: Exception) -> StoreError:
        network = f"failed: {cause}. Check AWS_ENDPOINT_URL_S3 and the network, then try again."
        return StoreError(f"{self.uri}/{key} {_FAULTS.get(code, network)}")
