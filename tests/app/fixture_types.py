"""Types of the functions that fixtures of conftest.py return."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from flask.testing import FlaskClient
from playwright.sync_api import Page
from werkzeug.test import TestResponse

from processing.bundle import Bundle

MakeClient = Callable[..., FlaskClient]
Post = Callable[..., TestResponse]
MakeBundle = Callable[..., Bundle]
OpenPage = Callable[..., Page]
StartServer = Callable[..., str]
Processes = dict[str, "subprocess.Popen[bytes]"]
Logs = dict[str, Path]
WaitUntil = Callable[[Callable[[], bool]], None]
