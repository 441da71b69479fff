"""NumPy's tests of einsum that do not apply to Otus, each with its reason."""

from __future__ import annotations

_PLANNER = "tests numpy.einsum_path alone, NumPy's planner of contractions"
_OBJECTS = "contracts arrays of Python objects, which are not tensors of numbers"
_EXTENDED = "uses extended precision, which Otus does not have"

NOT_APPLICABLE: dict[str, str] = {
    "TestEinsum::test_einsum_views": "asserts that results are views of operands; Otus returns arrays of their own",
    "TestEinsum::test_output_order": "asserts the memory layout of results; Otus promises values, shapes and dtypes",
    "TestEinsum::test_einsum_0d_out": "puts floats in an integer out, which casting='safe' (the default) forbids",
    "TestEinsum::test_einsum_sorting_behavior": _PLANNER,
    "TestEinsumPath::test_memory_contraints": _PLANNER,
    "TestEinsumPath::test_edge_paths": _PLANNER,
    "TestEinsumPath::test_path_type_input_invalid": "asserts errors of an invalid path; Otus plans by itself",
    "TestEinsum::test_einsum_object_errors": _OBJECTS,
    "TestEinsum::test_einsum_sums_object": _OBJECTS,
    "TestEinsum::test_object_loop": _OBJECTS,
    "TestEinsum::test_einsum_sums_longdouble": _EXTENDED,
    "TestEinsum::test_einsum_sums_clongdouble": _EXTENDED,
    "TestEinsum::test_different_paths[g]": _EXTENDED,
    "TestEinsum::test_different_paths[G]": _EXTENDED,
}
