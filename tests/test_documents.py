"""Links, commands, options, settings, metrics and pictures in README and docs exist."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.command import main as app_command
from config.settings import Settings
from tests.test_architecture import STAGES
from training.__main__ import main as training_command
from training.recipe import Recipe

ROOT = Path(__file__).parents[1]
NAMES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = [ROOT / name for name in NAMES] + sorted((ROOT / "docs").glob("*.md"))
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {"training": training_command, "app": app_command}
README_LINES = 150
PICTURES_BYTES = 500_000

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
every_guide = pytest.mark.parametrize("document", GUIDES, ids=lambda path: path.name)


def parse(document: Path) -> list[Token]:
    """The blocks of a document, and what is within them."""
    blocks = MarkdownIt().enable("table").parse(document.read_text(encoding="utf-8"))
    return [token for block in blocks for token in [block, *(block.children or ())]]


def find_links(document: Path) -> Iterator[str]:
    for token in parse(document):
        for attribute in ("href", "src"):
            if value := token.attrGet(attribute):
                yield str(value)
        if token.type in ("html_inline", "html_block"):
            yield from re.findall(r"""(?:src|href)=["']([^"']+)""", token.content)


def find_anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    tokens = parse(document)
    headings = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def find_commands(document: Path) -> Iterator[list[str]]:
    """The words of each command in the code blocks, without comments."""
    for token in parse(document):
        if token.type == "fence" and not token.info:
            for line in token.content.replace("\\\n", " ").splitlines():
                for command in re.split(r"&&|;", line):
                    try:
                        yield shlex.split(command, comments=True)
                    except ValueError:  # a quoted text of several lines
                        continue


def find_calls(document: Path, *start: str) -> Iterator[list[str]]:
    """What follows on `start` in each command that has it."""
    for words in find_commands(document):
        for i in range(len(words)):
            if tuple(words[i : i + len(start)]) == start:
                yield words[i + len(start) :]


def list_options(command: click.Command) -> set[str]:
    names = {"--help"}
    for parameter in command.params:
        names |= {*parameter.opts, *parameter.secondary_opts}
    return names


def find_rows(document: Path) -> list[str]:
    """The first cell of each row of the tables, heads left out."""
    tokens = parse(document)
    rows = [i for i, token in enumerate(tokens) if token.type == "tr_open"]
    return [tokens[i + 2].content for i in rows if tokens[i + 1].type == "td_open"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


@every_document
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    links = [link for link in find_links(document) if not re.match("https?:|mailto:", link)]
    for link in links:
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{document.name}: {link}: no such file"
        assert target.is_relative_to(ROOT), f"{document.name}: {link} is outside of the repository"
        if anchor:
            assert anchor in find_anchors(target), f"{document.name}: {link}: no such heading"


@every_guide
def test_the_commands_and_their_options_exist(document: Path) -> None:
    for package, group in COMMANDS.items():
        for words in find_calls(document, "-m", package):
            assert words[0] in group.commands, f"{document.name}: python -m {package} {words[0]}"
            used = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
            unknown = used - list_options(group.commands[words[0]])
            assert not unknown, f"{document.name}: {words[0]} has no option {unknown}"


@every_guide
def test_options_named_in_the_text_exist(document: Path) -> None:
    commands = [each for group in COMMANDS.values() for each in group.commands.values()]
    known = set().union(*map(list_options, commands))
    ours = tuple({"--", *(f"{command.name} " for command in commands)})  # and no other program's
    codes = [token.content for token in parse(document) if token.type == "code_inline"]
    used = [code for code in codes if code.startswith(ours)]
    named = {name for code in used for name in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}
    assert named <= known, f"{document.name} names {named - known}"


@every_document
def test_the_makefile_has_the_targets(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    codes = [token.content for token in parse(document) if token.type == "code_inline"]
    calls = [code.split()[1:] for code in codes if re.match(r"make [a-z]", code)]
    calls += find_calls(document, "make")
    named = {word for words in calls for word in words if re.fullmatch("[a-z-]+", word)}
    assert named <= targets, f"{document.name}: make has no {named - targets}"


def test_a_wrong_link_and_a_wrong_option_are_found(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# A page: one\n[a](#a-page-one) <img src='x.png'> ![b](none.png)\n\n"
        '<img src="y.png">\n\n'
        "```\nA=1 python -m training train \\\n  --no-such x  # --comment\n```\n"
    )
    assert set(find_links(document)) == {"#a-page-one", "none.png", "x.png", "y.png"}
    assert find_anchors(document) == {"a-page-one"}
    assert list(find_calls(document, "-m", "training")) == [["train", "--no-such", "x"]]


def test_the_settings_are_those_of_the_table() -> None:
    rows = find_rows(ROOT / "docs/serving.md")
    named = {name for row in rows for name in re.findall(r"^`([A-Z_]+)`$", row)}
    assert named == {name.upper() for name in Settings.model_fields}


def test_the_recipe_in_the_text_can_be_read() -> None:
    tokens = parse(ROOT / "docs/training.md")
    recipes = [token.content for token in tokens if token.type == "fence" and token.info == "toml"]
    assert recipes
    for recipe in recipes:
        Recipe.model_validate(tomllib.loads(recipe))


def test_the_metrics_and_log_lines_to_watch_exist() -> None:
    text = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").glob("*.py"))
    metrics = set(re.findall(r"melanoma_\w+", text))
    assert metrics
    for metric in metrics:
        assert f'"{metric.removesuffix("_bucket").removesuffix("_count")}"' in code, metric
    lines = re.findall(r'"([A-Z][\w ]+)" in the log', text)
    assert lines
    for line in lines:
        assert f'"{line}' in code, line


def test_the_packages_of_training_stand_in_their_order() -> None:
    rows = find_rows(ROOT / "ARCHITECTURE.md")
    named = [row.strip("`/") for row in rows if row.strip("`/") in STAGES]
    assert named == list(STAGES)


def test_the_pictures_are_small_and_shown() -> None:
    pictures = [path for path in (ROOT / "docs").rglob("*") if path.suffix in (".jpg", ".png")]
    assert sum(path.stat().st_size for path in pictures) <= PICTURES_BYTES
    shown = {
        (document.parent / link).resolve()
        for document in DOCUMENTS
        for link in find_links(document)
    }
    assert set(pictures) <= shown
