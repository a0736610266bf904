"""Open the store or the bundle at an address."""

import re
from pathlib import Path

from processing.bundle import MANIFEST, Bundle, read_bundle, read_manifest
from processing.store.base import Store, StoreError, disk_faults_explained
from processing.store.folder import FolderStore


def fetch_bundle(uri: str, cache: Path) -> Bundle:
    """Verify and return the bundle at `uri`: the folder of a bundle or store, or s3://BUCKET/PREFIX.

    Downloads from S3 are kept in folder `cache`; of several processes only one downloads.

    Raises:
        StoreError: the store cannot be read, or its current version is incomplete.
        BundleError: the bundle in the folder is incomplete.
    """
    with disk_faults_explained():
        is_bundle = (Path(uri) / MANIFEST).is_file()
    if is_bundle:
        return read_bundle(Path(uri))
    store = open_store(uri)
    return store.open_version(store.read_pointer(), cache)


def find_version(uri: str) -> str:
    """Read the current version at `uri`, without its files.

    Raises:
        StoreError, BundleError: as `fetch_bundle`.
    """
    with disk_faults_explained():
        path = Path(uri) / MANIFEST
        if path.is_file():
            return read_manifest(path).version
    return open_store(uri).read_pointer().version


def open_store(uri: str) -> "Store":
    """Open the store at s3://BUCKET/PREFIX or in a folder.

    Raises:
        StoreError: `uri` is neither, the folder does not exist, or AWS's settings are wrong.
    """
    if not uri.startswith("s3:") and "://" not in uri:
        return FolderStore(uri)
    match = re.fullmatch(r"s3://([^/]+)/*(.*?)/*", uri)
    if match is None:
        raise StoreError(f"{uri} is not a store. Give s3://BUCKET/PREFIX or a folder.")
    # Imported here: boto3 takes 85 ms and 16 MB, which an app with its model on disk saves.
    from processing.store.s3 import S3Store

    return S3Store(uri.rstrip("/"), bucket=match[1], prefix=match[2])
