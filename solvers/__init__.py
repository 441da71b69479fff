"""High-order methods derived from a loss; they use only the public names of ``otus``."""
