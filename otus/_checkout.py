"""Makes the rooms importable from a checkout, where they stand beside this folder.

An installed package has them inside ``otus`` and needs nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

_root = Path(__file__).parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "ir" / "__init__.py").is_file():
    sys.modules["otus"].__path__.append(str(_root))
