"""How long Otus takes, beside other libraries: ``python -m benchmarks --suite NAME``."""
