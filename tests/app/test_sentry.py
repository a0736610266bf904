import gzip
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Sentry is wired for the whole process, so each test has one of its own. The mark comes from
# outside of the script, since source lines are reported, and rightly so.
MARK = "visitors-own"
FAULT = """
import io, os, sentry_sdk
from flask import request
from app import create_app

app = create_app()
mark = os.environ.pop("MARK")

@app.post("/fault")
def fail():
    photo = request.files["image"].read()
    note = request.form["note"]
    raise RuntimeError("a fault of ours")

app.test_client().post(
    f"/fault?query={mark}",
    data={"image": (io.BytesIO(mark.encode() * 100), f"{mark}.jpg"), "note": mark},
    headers={"User-Agent": mark, "Cookie": f"a={mark}"},
    environ_base={"REMOTE_ADDR": "198.51.100.77"},
)
sentry_sdk.flush()
"""
LOAD = """
import time, sentry_sdk
from app import create_app

client = create_app().test_client()
while "cannot be loaded" not in client.get("/readyz").text:
    time.sleep(0.05)
sentry_sdk.flush()
"""


@pytest.fixture
def sink():
    """A Sentry server that keeps what it is sent."""
    received = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://key@127.0.0.1:{server.server_port}/1", received
        server.shutdown()
        thread.join()


def run(script, **variables):
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_a_fault_is_reported_and_nothing_of_the_visitor_with_it(sink):
    dsn, received = sink
    run(FAULT, SENTRY_DSN=dsn, SENTRY_ENVIRONMENT="testing", MARK=MARK)
    report = b"\n".join(received)
    assert b"a fault of ours" in report
    assert b'"environment":"testing"' in report
    assert MARK.encode() not in report
    assert b"198.51.100.77" not in report


def test_a_model_that_cannot_be_loaded_is_reported(sink, make_bundle):
    dsn, received = sink
    bundle = make_bundle()
    (bundle.path / "model.tflite").write_bytes(b"damaged")
    run(LOAD, SENTRY_DSN=dsn, MODEL_URI=str(bundle.path))
    report = b"\n".join(received)
    assert b"Model not loaded from" in report
    assert b"model.tflite has 7 bytes" in report
