"""Programs to modules over NumPy."""
