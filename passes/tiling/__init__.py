"""Chains of contractions through values that carry two long indices: found, split into kernels, written as loops."""
