"""Requests made up from the API's description, against a real server: no 5xx, nothing undescribed.

Two thousand by `SCHEMATHESIS_CASES=2000`; a few by default, since each is a request.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

CASES = os.environ.get("SCHEMATHESIS_CASES", "150")


def test_no_request_that_the_description_allows_or_forbids_fails(server: str) -> None:
    finished = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{server}/openapi.json"),
            *("--max-examples", CASES, "--seed", "1", "--phases", "coverage,fuzzing"),
            # Files are made up, too: hardly one of them is a photo, and so they are refused.
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            "--no-color",
        ],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    generated = re.search(r"(\d+) generated, (\d+) passed", finished.stdout)
    assert generated, finished.stdout[-6000:] + finished.stderr[-2000:]
    assert int(generated[2]) == int(generated[1]) >= int(CASES)
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
