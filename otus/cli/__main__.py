"""``python -m otus.cli``: the command without its entry point."""

from __future__ import annotations

from .main import run

if __name__ == "__main__":
    run()
