"""The notebooks for Kaggle, executed here."""

import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "training/notebooks"


def read_notebook(name: str) -> nbformat.NotebookNode:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(name: str, parameters: dict[str, Any], **variables: str) -> str:
    """Run a notebook with parameters, inserted as papermill does, and return what it printed."""
    notebook = read_notebook(name)
    (cell,) = (one for one in notebook.cells if one.metadata.get("tags") == ["parameters"])
    for parameter, value in parameters.items():
        assert f"\n{parameter} = " in cell.source
        cell.source += f"\n{parameter} = {value!r}"
    # Where it sees pytest, a kernel does not show what the commands that it starts print.
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    NotebookClient(notebook).execute(env=environment | variables)
    outputs = [output for one in notebook.cells for output in one.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)
