"""Which tests share a process where several run (`pytest -n 2`), and which are slow.

A fixture that costs seconds is built once: all tests of the trained run go to one process, those of
a browser or server to another. The tests of a file stay together, for the sake of its own fixtures.
"""

import pytest

# The first of these fixtures that a test uses, itself or through others, names its group.
_GROUPS = {"run": "trained", "traced_run": "trained"} | dict.fromkeys(
    ("start_server", "browser", "seaweedfs", "s3_uri"), "served"
)
_ORDER = ("trained", "served")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "slow: trains, serves, opens a browser, or takes seconds")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign the groups, and put the long ones first, so that both processes end together."""
    groups = {item: _name_group(item) for item in items}
    slow_files = set()
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
        if group in _ORDER:
            item.add_marker("slow")
        elif item.get_closest_marker("slow"):
            slow_files.add(group)
    ranks = {name: i for i, name in enumerate(_ORDER)} | dict.fromkeys(slow_files, len(_ORDER))
    items.sort(key=lambda item: ranks.get(groups[item], len(_ORDER) + 1))


def _name_group(item: pytest.Item) -> str:
    used = [*getattr(item, "fixturenames", ())]
    if call := getattr(item, "callspec", None):
        used += [value for value in call.params.values() if isinstance(value, str)]  # of fixtures
    found = next((group for fixture, group in _GROUPS.items() if fixture in used), None)
    return found or str(item.path)
