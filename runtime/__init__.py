"""Running: the reference interpreter, compiled functions, and what they exchange with callers."""

import time

LOADED = time.time()
"""When this process loaded Otus, in seconds since the epoch: files that changed since are not what runs."""
