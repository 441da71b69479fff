"""The benchmarks are not installed: their package is found at the root of the checkout."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))
