"""Photos sent to a running server, as a form sends them."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any

from urllib3 import encode_multipart_formdata

JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}


def encode_form(photos: Iterable[bytes], **fields: str) -> tuple[bytes, dict[str, str]]:
    """The body of a form that asks for JSON, and its headers."""
    files = [("image", (f"photo{i}.jpg", photo)) for i, photo in enumerate(photos)]
    body, content_type = encode_multipart_formdata([*files, *fields.items()])
    return body, JSON | {"Content-Type": content_type}


def ask(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """Status and JSON of the answer to such a form."""
    request = urllib.request.Request(f"{url}/predict", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
