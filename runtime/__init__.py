"""Running: the reference interpreter, compiled functions, and what they exchange with callers."""
