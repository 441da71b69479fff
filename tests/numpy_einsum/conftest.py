"""Marks NumPy's tests that do not apply, with their reasons."""

from __future__ import annotations

from pathlib import Path

import pytest
from numpy_einsum.not_applicable import NOT_APPLICABLE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.partition("::")[2]
        if item.path.parent == Path(__file__).parent:
            reason = NOT_APPLICABLE.get(name) or NOT_APPLICABLE.get(name.partition("[")[0])
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=f"NumPy's test {reason}"))
