"""The invariants of ARCHITECTURE.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from processing.store.open import open_store

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
    assert importers("boto3") == {"processing/store/s3.py"}
    assert importers("ai_edge_litert") == {
        "app/classifier.py",
        "training/ship/memory.py",
        "training/ship/publish.py",
        "training/serving/graph.py",
        "training/serving/published.py",
    }


def test_what_serves_needs_neither_beam_nor_what_reaches_stores_of_photos() -> None:
    assert importers("apache_beam") == {"processing/beam.py"}
    code = (
        "import wsgi, app.command, sys\n"
        "assert not {'app.beam', 'apache_beam', 'etils'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_each_test_that_needs_beam_runs_in_its_environment() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if "from tests.beam import" in path.read_text(encoding="utf-8") and path != Path(__file__)
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^ON_BEAM := ((?:\\\n|.)*)$", makefile, re.MULTILINE)
    assert set(listed.replace("\\\n", " ").split()) == users


def test_importing_wsgi_brings_in_no_tensorflow() -> None:
    code = "import wsgi, sys; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_what_the_slug_leaves_out_exists_and_is_not_imported_by_what_serves() -> None:
    left_out = (ROOT / ".slugignore").read_text(encoding="utf-8").split()
    assert left_out
    for pattern in left_out:
        assert (ROOT / pattern.lstrip("/")).is_dir(), pattern
    names = {pattern.strip("/") for pattern in left_out}
    serving = [path for package in ("app", "config", "processing") for path in files_of(package)]
    for path in [*serving, *ENTRY_POINTS]:
        assert not imported(path) & names, path


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


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("requirements", ["requirements"]),
        ("requirements-dicom", ["requirements-dicom"]),
        ("requirements-training", ["requirements", "requirements-training"]),
        (
            "requirements-dev",
            ["requirements", "requirements-training", "requirements-dicom", "requirements-dev"],
        ),
        ("requirements-alone", ["requirements-alone"]),
    ],
)
def test_what_is_installed_is_what_was_asked_for_with_a_hash_of_each_file(
    name: str, sources: list[str]
) -> None:
    asked = {key: pin for source in sources for key, pin in read_pins(f"{source}.in").items()}
    installed = read_pins(f"{name}.txt")
    assert asked.items() <= installed.items(), "run `make requirements`"
    # For Python releases and systems that the other file leaves out.
    elsewhere = {"async-timeout", "colorama", "tzdata", "appnope", "cffi", "pycparser"}
    assert installed.keys() - asked.keys() <= elsewhere
    entries = (ROOT / f"{name}.txt").read_text(encoding="utf-8").split("\n\n")[-1]
    for entry in re.split(r"\n(?=\S)", entries.strip()):
        assert entry.startswith("#") or "--hash=sha256:" in entry, entry


# Each package of `training` may import those before it, and itself.
STAGES = (
    *("data", "build", "metrics", "inspect", "model", "train", "serving", "evaluate", "ship"),
    "commands",
)
# Modules that every stage may import; of the project they import each other and `processing` alone.
GROUND = ("errors", "files", "pages", "recipe", "strict", "text")


def imported_modules(path: Path) -> set[str]:
    """The modules of `training` that a file imports, dotted, without the name of the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("training"):
            parts = (node.module or "").split(".")[1:]
            # `from training.data import batches` names a module, too.
            found |= {".".join([*parts, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {name.partition(".")[2] for name in names if name.startswith("training.")}
    return found


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in turn; empty where there is no such circle."""
    left = dict(imports)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_the_packages_of_training_import_only_those_before_them() -> None:
    folders = {path.parent.name for path in (ROOT / "training").glob("*/__init__.py")}
    assert folders == set(STAGES)
    for number, stage in enumerate(STAGES):
        allowed = {*STAGES[: number + 1], *GROUND}
        for path in files_of(f"training/{stage}"):
            used = {module.split(".")[0] for module in imported_modules(path)}
            assert used <= allowed, f"{path} imports {used - allowed}"
    for name in GROUND:
        used = {m.split(".")[0] for m in imported_modules(ROOT / "training" / f"{name}.py")}
        assert used <= set(GROUND), f"{name} imports {used}"


@pytest.mark.parametrize("package", ["app", "config", "processing", "training"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    modules = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path
        for path in files_of(package)
    }
    imports = {}
    for name, path in modules.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        imports[name] = (found & modules.keys()) - {name}
    assert not find_circle(imports), find_circle(imports)


def test_a_circle_is_found() -> None:
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "command",
    [
        *("--help", "train --help", "compare --help"),
        *("publish {bundle} {store} --test isic2017-test", "models {store}", "rollback {store}"),
    ],
)
def test_a_command_that_needs_no_tensorflow_imports_none(command: str, tmp_path: Path) -> None:
    bundle = ROOT / "app" / "model" / "default"
    if "publish" not in command:
        open_store(str(tmp_path)).publish(bundle)
    code = (
        "import sys; from training.__main__ import main\n"
        f"try: main({command.format(store=tmp_path, bundle=bundle).split()!r})\n"
        "except SystemExit as end: assert not end.code, end\n"
        "except Exception as error: assert 'no earlier version' in str(error), error\n"
        "assert not {'tensorflow', 'keras', 'jax', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
