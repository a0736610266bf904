"""The invariants of ARCHITECTURE.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"app", "config", "processing", "training"}
ENVIRONMENT = ("environ", "getenv")
READERS = ("read_settings", "Settings", "create_app")
ENTRY_POINTS = {ROOT / "wsgi.py", ROOT / "gunicorn.conf.py"}


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports escape this test"
            found.add((node.module or "").split(".")[0])
    return found


def files_of(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package} has no files: this test looks in the wrong place"
    return files


def importers(name: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in files_of(package)
        if name in imported(path)
    }


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("processing", {"processing"}),
        ("config", {"config"}),
        ("app", {"app", "config", "processing"}),
        ("training", {"training", "config", "processing"}),
    ],
)
def test_a_package_imports_no_other_than_it_may(package: str, allowed: set[str]) -> None:
    for path in files_of(package):
        assert imported(path) & PACKAGES <= allowed, path


@pytest.mark.parametrize("package", ["app", "config", "processing"])
def test_what_serves_never_imports_tensorflow(package: str) -> None:
    for path in files_of(package):
        assert not imported(path) & {"tensorflow", "keras"}, path


def test_boto3_and_the_inference_runtime_have_one_importer_each_that_serves() -> None:
    assert importers("boto3") == {"processing/s3.py"}
    assert importers("ai_edge_litert") == {
        "app/classifier.py",
        "training/publish.py",
        "training/serving_graph.py",
    }


def test_importing_wsgi_brings_in_no_tensorflow() -> None:
    code = "import wsgi, sys; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def reads_environment(node: ast.AST) -> bool:
    """Whether a statement outside of functions names os.environ or os.getenv, or reads settings."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return False
    if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT:
        return True
    if isinstance(node, ast.ImportFrom) and node.module == "os":
        return any(alias.name in ENVIRONMENT for alias in node.names)
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) in READERS:
        return True
    return any(reads_environment(child) for child in ast.iter_child_nodes(node))


def test_nothing_but_an_entry_point_reads_the_environment_at_import() -> None:
    for package in PACKAGES:
        for path in files_of(package):
            assert not reads_environment(ast.parse(path.read_text(encoding="utf-8"))), path
    for path in ENTRY_POINTS:
        assert reads_environment(ast.parse(path.read_text(encoding="utf-8"))), path


def read_pins(file: str) -> dict[str, str]:
    """Each package's version, as a file of requirements has it."""
    pin = re.compile(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", re.MULTILINE)
    return dict(pin.findall((ROOT / file).read_text(encoding="utf-8")))


def test_what_is_deployed_is_what_was_asked_for_with_a_hash_of_each_file() -> None:
    asked, deployed = read_pins("requirements.in"), read_pins("requirements.txt")
    assert asked.items() <= deployed.items(), "run `make requirements`"
    # Python releases and systems that the other file leaves out.
    assert deployed.keys() - asked.keys() <= {"async-timeout", "colorama"}
    entries = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n\n")[-1]
    for entry in re.split(r"\n(?=\S)", entries.strip()):
        assert entry.startswith("#") or "--hash=sha256:" in entry, entry
