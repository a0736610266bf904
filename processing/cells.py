"""Cells of CSV files that no spreadsheet takes for a formula.

A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a line break, wherever the
name that stands there came from (https://owasp.org/www-community/attacks/CSV_Injection). Such text
is written behind an apostrophe, and so is text that already looks guarded, so that reading gives
back exactly what was written.
"""

import re

_RISKY = re.compile(r"'*[=+\-@\t\r\n]")


def guard_cell(text: str) -> str:
    """Return text as it is written into a CSV file."""
    return f"'{text}" if _RISKY.match(text) else text


def release_cell(cell: str) -> str:
    """Return the text that `guard_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and _RISKY.match(cell) else cell
