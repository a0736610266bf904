"""The OpenAPI 3.1 description, generated from the schemas, errors and limits in the code."""

from functools import cache
from typing import Any

from apispec import APISpec
from flask import Flask
from pydantic.json_schema import models_json_schema

from app.api import Answers, Problem
from app.errors import KINDS
from app.languages import LANGUAGES, PARAMETER
from app.request_id import HEADER
from app.uploads import FIELD, MAX_IMAGES, STABILITY
from processing.manifest import Manifest

VERSION = "1.0.0"
_TEMPLATE = "#/components/schemas/{model}"
_JSON, _HTML, _PROBLEM, _TEXT = (
    "application/json", "text/html", "application/problem+json", "text/plain",
)  # fmt: skip


@cache
def describe_api(app: Flask) -> dict[str, Any]:
    """Build the description, with the limits of `app`."""
    spec = APISpec(
        title="Melanoma check",
        version=VERSION,
        openapi_version="3.1.0",
        info={
            "description": "Classifies photos of skin lesions as malignant (melanoma) or benign. "
            "The result is not a diagnosis. Photos are kept in memory during the request and "
            "are not stored. Answers are JSON, unless the header Accept names text/html.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        servers=[{"url": "/"}],
    )
    shapes = [(shape, "serialization") for shape in (Answers, Problem, Manifest)]
    _, schemas = models_json_schema(shapes, ref_template=_TEMPLATE)  # type: ignore[arg-type]
    for name, schema in schemas["$defs"].items():
        spec.components.schema(name, schema)
    spec.components.security_scheme("apiKey", _API_KEY)
    for name, header in _HEADERS.items():
        spec.components.header(name, header)
    spec.path("/predict", operations={"post": _describe_predict(app)})
    for path, operation in _READING.items():
        spec.path(path, operations={"get": operation})
    return spec.to_dict()


_STRING = {"type": "string"}
_HEADERS = {
    HEADER: {"description": "The request's ID, as in the log.", "schema": _STRING},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
}


_API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "One of the keys that the operator gave out (`API_KEYS`): it has a limit of its "
    "own. Without a key, the limit of the sender's address holds.",
}


_LANGUAGE = {
    "name": PARAMETER,
    "in": "query",
    "description": f"Language of problems and pages: {', '.join(LANGUAGES)}. Others are ignored: "
    "then the header Accept-Language decides.",
    "schema": {"type": "string"},
}


def _answer(description: str, *headers: str, **content: str | None) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in (HEADER, *headers)},
        "content": {
            kind: {"schema": {"$ref": _TEMPLATE.format(model=shape)} if shape else _STRING}
            for kind, shape in content.items()
        },
    }


def _describe_predict(app: Flask) -> dict[str, Any]:
    faults: dict[int, list[str]] = {}
    for kind in KINDS:
        faults.setdefault(kind.status, []).append(kind.type)
    megabytes = app.config["MAX_CONTENT_LENGTH"] // 1_000_000
    return {
        "operationId": "predict",
        "summary": "Classify photos",
        "description": "If the only photo cannot be read, the request fails. If one of several "
        "cannot be read, its entry in `images` is the problem, and the others are classified. "
        "Form fields and query parameters that are not listed here are refused "
        "(`/problems/wrong-field`).",
        "security": [{}, {"apiKey": []}],
        "parameters": [_LANGUAGE],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": [FIELD],
                        "additionalProperties": False,
                        "properties": {
                            FIELD: {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": MAX_IMAGES,
                                "description": "JPEG, PNG, WebP or HEIC, each with a file name; "
                                f"together at most {megabytes} MB, and no more photos than the "
                                "rate limit allows.",
                                # OpenAPI 3.1 has contentMediaType for files; generators of
                                # clients know them by the format of 3.0.
                                "items": {
                                    "type": "string",
                                    "format": "binary",
                                    "contentMediaType": "application/octet-stream",
                                },
                            },
                            STABILITY: {
                                "type": "string",
                                "enum": ["true", "false"],
                                "default": "false",
                                "description": "Also classify all eight orientations of each "
                                "photo, which takes up to eight times as long.",
                            },
                        },
                    },
                    "encoding": {FIELD: {"contentType": "image/*, application/octet-stream"}},
                }
            },
        },
        "responses": {
            "200": _answer("A result for each photo.", **{_JSON: "Answers", _HTML: None}),
        }
        | {
            str(status): _answer(
                "Problem types: " + ", ".join(f"[`{type_}`]({type_})" for type_ in types) + ".",
                *(["Retry-After"] if status in (429, 503) else []),
                **{_PROBLEM: "Problem", _HTML: None},
            )
            for status, types in sorted(faults.items())
        },
    }


_READING = {
    "/model": {
        "operationId": "showModel",
        "summary": "The manifest of the current model",
        "description": "How it was trained and how well it performs; as HTML, its model card.",
        "responses": {
            "200": _answer("The current model.", **{_JSON: "Manifest", _HTML: None}),
            "503": _answer(
                "No model is loaded.", "Retry-After", **{_PROBLEM: "Problem", _HTML: None}
            ),
        },
    },
    "/healthz": {
        "operationId": "tellHealth",
        "summary": "Whether the process is running",
        "responses": {"200": _answer("It is.", **{_TEXT: None})},
    },
    "/readyz": {
        "operationId": "tellReadiness",
        "summary": "Whether photos can be answered",
        "responses": {
            "200": _answer("It is.", **{_TEXT: None}),
            "503": _answer("Not yet; the text gives the reason.", "Retry-After", **{_TEXT: None}),
        },
    },
}
