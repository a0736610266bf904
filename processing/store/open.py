"""Find the store or bundle that an address names."""

import re
from pathlib import Path

from processing.bundle import MANIFEST, Bundle, parse_manifest, read_bundle
from processing.store.base import Store, StoreError, disk_faults_explained
from processing.store.folder import FolderStore


def fetch_bundle(uri: str, cache: Path) -> Bundle:
    """The verified bundle at `uri`: a bundle's folder, a store's folder, or s3://BUCKET/PREFIX.

    What comes from S3 lies in folder `cache`; processes that start at once download once.

    Raises:
        StoreError: the store cannot be read, or what it has in force is not whole.
        BundleError: the bundle in the folder is not whole.
    """
    with disk_faults_explained():
        is_bundle = (Path(uri) / MANIFEST).is_file()
    if is_bundle:
        return read_bundle(Path(uri))
    store = open_store(uri)
    return store.open_version(store.read_pointer(), cache)


def find_version(uri: str) -> str:
    """The version in force at `uri`, without its files.

    Raises:
        StoreError, BundleError: as `fetch_bundle`.
    """
    with disk_faults_explained():
        path = Path(uri) / MANIFEST
        if path.is_file():
            return parse_manifest(path.read_bytes(), path).version
    return open_store(uri).read_pointer().version


def open_store(uri: str) -> "Store":
    """The store at s3://BUCKET/PREFIX or in a folder.

    Raises:
        StoreError: `uri` is neither, the folder does not exist, or AWS's settings are wrong.
    """
    if not uri.startswith("s3:") and "://" not in uri:
        return FolderStore(uri)
    match = re.fullmatch(r"s3://([^/]+)/*(.*?)/*", uri)
    if match is None:
        raise StoreError(f"{uri} is no store. Give s3://BUCKET/PREFIX or a folder.")
    # Here, as boto3 costs 85 ms and 16 MB that an app with its model on disk need not pay.
    from processing.store.s3 import S3Store

    return S3Store(uri.rstrip("/"), bucket=match[1], prefix=match[2])
