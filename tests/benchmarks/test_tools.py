import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need gunicorn and /proc"),
]
ROOT = Path(__file__).parents[2]
# The others are parts of these.
BENCHMARKS = [
    "attacks", "build", "classify", "decoding", "dyno", "growth", "input", "pixels", "quality",
    "runtimes", "selecting", "serving", "training",
]  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_says_what_it_measures_and_how_to_run_it(name: str) -> None:
    done = run(f"benchmarks.{name}", "--help")
    assert done.returncode == 0, done.stderr
    assert f"python -m benchmarks.{name}" in " ".join(done.stdout.split())
    assert "--json" in done.stdout


def test_rows_are_chosen_and_written_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    done = run("benchmarks.pixels", "--only", "1024x1024", "--json", str(file))
    assert done.returncode == 0, done.stderr
    written = json.loads(file.read_text())
    assert "pillow" in written["machine"]
    assert {row["part"].split()[0] for row in written["rows"]} == {"1024x1024"}
    for row in written["rows"]:
        assert row["value"] > 0
        assert row["name"] in done.stdout


def test_a_row_that_does_not_exist_is_refused_with_the_list_of_those_that_do() -> None:
    done = run("benchmarks.pixels", "--only", "1x1")
    assert done.returncode == 2
    assert "4000x3000" in done.stderr
