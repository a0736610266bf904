"""`pytest -m fault` ends with a line for each fault: what is done, what must happen, the outcome.

A test that carries `@pytest.mark.fault(what, then)` asserts `then`. Its measured figures follow
if it records them as the property `measured`.
"""

import pytest

_PROPERTY = "fault"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "fault(what, then): what is done, and what must happen")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the marker's words to the report of the test."""
    if marker := item.get_closest_marker("fault"):
        item.user_properties.append((_PROPERTY, marker.args))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines."""
    if terminalreporter.config.option.markexpr != "fault":
        return
    outcomes: dict[tuple[str, str], set[str]] = {}
    measured: dict[tuple[str, str], str] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            properties = dict(report.user_properties)
            if words := properties.get(_PROPERTY):
                outcomes.setdefault(words, set()).add(outcome)
                if figures := properties.get("measured"):
                    measured[words] = figures
    terminalreporter.section("faults")
    for (what, then), seen in outcomes.items():
        verdict = "pass" if seen == {"passed"} else "skipped" if "skipped" in seen else "FAIL"
        terminalreporter.write_line(f"{verdict:<8}{what:<52}{then}")
        if (what, then) in measured:
            terminalreporter.write_line(f"{'':<8}{measured[what, then]}")
