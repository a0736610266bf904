import os
import subprocess
import sys
from pathlib import Path

from tests.app.fixture_types import MakeBundle

ROOT = Path(__file__).parents[2]

# Sentry is wired for the whole process, so each test has one of its own. The mark comes from
# outside of the script, since source lines are reported, and rightly so.
MARK = "visitors-own"
FAULT = """
import io, os, sentry_sdk
from flask import request
from app.factory import create_app
from app.forms import read_form

app = create_app()
mark = os.environ.pop("MARK")

@app.post("/fault")
def fail():
    form = read_form(request)
    photo, note = form.files[0].content, form.fields["note"]
    raise RuntimeError(f"a fault of ours: {mark}")

app.test_client().post(
    f"/fault?query={mark}",
    data={"image": (io.BytesIO(mark.encode() * 100), f"{mark}.jpg"), "note": mark},
    headers={
        "User-Agent": mark,
        "Cookie": f"a={mark}",
        "Host": f"{mark}.example",
        "baggage": f"sentry-release={mark},sentry-trace_id={'1' * 32},sentry-sampled=true",
        "sentry-trace": f"{'1' * 32}-{'2' * 16}-1",
    },
    environ_base={"REMOTE_ADDR": "198.51.100.77"},
)
sentry_sdk.flush()
"""
LOAD = """
import time, sentry_sdk
from app.factory import create_app

client = create_app().test_client()
while "cannot be loaded" not in client.get("/readyz").text:
    time.sleep(0.05)
sentry_sdk.flush()
"""


def run(script: str, **variables: str) -> None:
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_a_fault_is_reported_and_nothing_of_the_visitor_with_it(
    sink: tuple[str, list[bytes]],
) -> None:
    dsn, received = sink
    run(FAULT, SENTRY_DSN=dsn, SENTRY_ENVIRONMENT="testing", MARK=MARK)
    report = b"\n".join(received)
    assert b"RuntimeError" in report
    assert b'"function":"fail"' in report
    assert b"1" * 32 not in report
    assert b'"environment":"testing"' in report
    assert MARK.encode() not in report
    assert b"198.51.100.77" not in report


def test_a_model_that_cannot_be_loaded_is_reported(
    sink: tuple[str, list[bytes]], make_bundle: MakeBundle
) -> None:
    dsn, received = sink
    bundle = make_bundle()
    (bundle.path / "model.tflite").write_bytes(b"damaged")
    run(LOAD, SENTRY_DSN=dsn, MODEL_URI=str(bundle.path))
    report = b"\n".join(received)
    assert b"Model not loaded from" in report
    assert b"model.tflite has 7 bytes" in report
