"""Local rules: before and after, a side condition, a few lines."""
