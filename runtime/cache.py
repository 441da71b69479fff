"""Plans that are kept: in memory for this process, and on disk for those to come.

A plan is found by a text that says all that it depends on (:mod:`.canonical`, the passes, versions), so a
copy of a program with other names has the same plan.  On disk an entry is one JSON file of source text,
written under another name and then renamed, with the whole key and a digest of the whole entry inside.
Whatever is not exactly what was asked for (cut short, changed, another user's, of another version,
unreadable) counts as absent, and a folder that cannot be written to keeps nothing: no cache makes a call fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import LOADED
from .executable import Executable

LIMIT_BYTES = 256 * 2**20
_KEPT_IN_MEMORY = 1024
_WRITES_BETWEEN_PRUNINGS = 64
_PLANS, _SUFFIX = "plans", ".json"
_SECONDS_OF_LOADING = 2.0
_ROOMS = ("ir", "autodiff", "passes", "codegen", "runtime")


@dataclass(frozen=True)
class StoredPlan:
    """What runs a plan: its code, and the inputs that it reads.

    ``reads`` are numbers of canonical inputs, in the order of the function's parameters; ``symbolic`` says
    that other sizes may have other plans; ``names`` are those that the source was written with, as text;
    ``replayed`` is as a plan says it.
    """

    executable: Executable
    reads: tuple[int, ...]
    symbolic: bool
    names: str
    replayed: bool = False


class PlanCache:
    """Plans by key: those of this process, and those in ``folder`` unless that is None.

    It may be used from several threads, and ``folder`` by several processes.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find(self, key: str) -> StoredPlan | None:
        """The plan that was kept for ``key``, or None."""
        found = _memory.find(key)
        if found is None and self.folder is not None:
            found = _read(_path(self.folder, key), key)
            if found is not None:
                _memory.keep(key, found)
        return found

    def keep(self, key: str, plan: StoredPlan) -> None:
        """Keep a plan in memory, and on disk where that can be."""
        _memory.keep(key, plan)
        if self.folder is None:
            return
        try:
            write_whole(_path(self.folder, key), _entry(key, plan))
        except OSError:
            return  # the folder is read-only or full: this process still has the plan
        if _memory.counts_to(_WRITES_BETWEEN_PRUNINGS):
            prune(self.folder, LIMIT_BYTES)


class _Memory:
    """The plans of this process; those that were not used for longest make room."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, StoredPlan] = OrderedDict()
        self._lock = threading.Lock()
        self._writes = 0

    def find(self, key: str) -> StoredPlan | None:
        with self._lock:
            found = self._plans.get(key)
            if found is not None:
                self._plans.move_to_end(key)
            return found

    def keep(self, key: str, plan: StoredPlan) -> None:
        with self._lock:
            self._plans[key] = plan
            if len(self._plans) > _KEPT_IN_MEMORY:
                self._plans.popitem(last=False)

    def counts_to(self, number: int) -> bool:
        """Whether this is the first of ``number`` calls."""
        with self._lock:
            self._writes += 1
            return self._writes % number == 1

    def forget(self) -> None:
        with self._lock:
            self._plans.clear()
            self._writes = 0


_memory = _Memory()


def forget() -> None:
    """Drop the plans that this process keeps in memory; those on disk stay."""
    _memory.forget()


@cache
def versions() -> str | None:
    """What plans depend on beside the program: Python, NumPy, and every file of the compiler as it stands.

    None where that is not known: a file of the compiler changed since (or just before) it was loaded, so
    that what runs is not what the files say.
    """
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    try:
        for path in sorted(path for room in _ROOMS for path in (package / room).rglob("*.py")):
            state = path.stat()
            if state.st_mtime > LOADED - _SECONDS_OF_LOADING:
                return None
            digest.update(f"{path} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
    except OSError:
        return None
    return f"python {sys.version_info[:3]} numpy {np.__version__} compiler {digest.hexdigest()}"


def prune(folder: Path, limit: int) -> None:
    """Remove the plans that were not used for longest until at most ``limit`` bytes are left."""
    entries = []
    with contextlib.suppress(OSError):  # the folder may be gone; another process may be pruning it
        for each in os.scandir(folder / _PLANS):
            state = each.stat(follow_symlinks=False)
            entries.append((state.st_mtime_ns, state.st_size, each.path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
        total -= size


def stored_bytes(folder: Path) -> tuple[int, int]:
    """How many plans a cache folder holds, and their bytes."""
    sizes = []
    with contextlib.suppress(OSError):
        sizes = [each.stat().st_size for each in os.scandir(folder / _PLANS) if each.name.endswith(_SUFFIX)]
    return len(sizes), sum(sizes)


# --- entries on disk ---------------------------------------------------------------------------


def _path(folder: Path, key: str) -> Path:
    return folder / _PLANS / f"{digest_of(key)}{_SUFFIX}"


def digest_of(text: str) -> str:
    """The digest of a text, as digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _entry(key: str, plan: StoredPlan) -> str:
    return with_digest(
        {
            "key": key,
            "function": plan.executable.function,
            "reads": list(plan.reads),
            "symbolic": plan.symbolic,
            "names": plan.names,
            "replayed": plan.replayed,
            "source": plan.executable.source,
        }
    )


def with_digest(entry: Mapping[str, object]) -> str:
    """An entry as the text of a file: the digest of its JSON, and that."""
    content = json.dumps(entry)
    return f"{digest_of(content)}\n{content}\n"


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all; raises ``OSError`` where it cannot."""
    import tempfile  # here, since most processes only read

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem[:16], suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _read(path: Path, key: str) -> StoredPlan | None:
    """The plan in a file, or None where there is none for exactly this key."""
    content = read_whole(path)
    plan = None if content is None else _plan(content, key)
    if plan is not None:
        with contextlib.suppress(OSError):
            os.utime(path)  # used now: pruning takes the others first
    return plan


def read_whole(path: Path) -> str | None:
    """The JSON in a file; None where it is not there, cut short, changed, or another user's."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            if not _is_own(file.fileno()):
                return None
            digest, _, content = file.read().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    content = content.removesuffix("\n")
    return content if digest == digest_of(content) else None


def _plan(content: str, key: str) -> StoredPlan | None:
    try:
        entry: dict[str, Any] = json.loads(content)
        if entry["key"] != key:
            return None
        executable = Executable.of(entry["source"], entry["function"])
        reads, symbolic = tuple(map(int, entry["reads"])), bool(entry["symbolic"])
        return StoredPlan(executable, reads, symbolic, entry["names"], bool(entry["replayed"]))
    except (ValueError, LookupError, TypeError, SyntaxError):
        return None  # whole, but no entry of ours


def _is_own(descriptor: int) -> bool:
    """Whether a file belongs to this user, since what it holds will be executed."""
    return not hasattr(os, "getuid") or os.fstat(descriptor).st_uid == os.getuid()
