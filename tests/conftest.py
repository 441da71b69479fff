"""What all tests share: goldens, kept as files beside the tests and rewritten by ``--update-goldens``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import on_triton
import pytest

Golden = Callable[[str, str], None]

# The benchmarks are not installed: their package is found at the root of the checkout, after what is.
sys.path.append(str(Path(__file__).parent.parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens", action="store_true", help="write what was computed instead of comparing with it"
    )
    parser.addoption("--part", metavar="K/N", help="run every N-th test from the K-th on, for N processes at once")


def pytest_configure(config: pytest.Config) -> None:
    if on_triton.EVERYWHERE:
        on_triton.use_triton()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m gpu``, read only the files that have such tests: others need what a machine with a GPU may lack."""
    if config.option.markexpr != "gpu" or Path(__file__).parent not in collection_path.parents:
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return None if any("pytest.mark.gpu" in file.read_text("utf-8") for file in files) else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the part that is to be run; with ``OTUS_TESTS_ON=triton``, skip what is about NumPy's backend."""
    if config.option.part is not None:
        number, count = map(int, config.option.part.split("/"))
        items[:] = items[number - 1 :: count]
    if not on_triton.EVERYWHERE:
        return
    for item in items:
        for start, reason in on_triton.NOT_ON_TRITON.items():
            if item.nodeid.startswith(f"tests/{start}"):
                item.add_marker(pytest.mark.skip(reason=f"on Triton: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With ``OTUS_TESTS_ON=triton``, say how many of the modules that ran have kernels."""
    if on_triton.EVERYWHERE:
        ran = ", ".join(f"{count} of {kind}" for kind, count in on_triton.RAN.most_common())
        terminalreporter.write_line(f"modules that ran: {ran or 'none'}")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep plans in a folder of their own: none of another compiler, and none left behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTUS_CACHE_DIR", str(tmp_path_factory.mktemp("otus-cache")))
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """``golden(name, text)`` compares ``text`` with the file ``goldens/name`` beside the test."""
    folder = Path(request.path).parent / "goldens"

    def compare(name: str, text: str) -> None:
        path = folder / name
        if request.config.getoption("--update-goldens"):
            folder.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"{path} is missing; run pytest --update-goldens, and read what it wrote"
        assert text == path.read_text(encoding="utf-8"), f"differs from {path}; --update-goldens if that is meant"

    return compare
