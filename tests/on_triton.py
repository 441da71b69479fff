"""The value tests on the backend triton, in Triton's interpreter.

Values that tests compute through ``evaluation.run`` with NumPy are computed there too, for one program in
``ONE_IN``, chosen by its text.  With ``OTUS_TESTS_ON=triton`` in the environment, every function that any test
compiles for NumPy without a pipeline of its own is compiled for Triton instead (:func:`use_triton`).
"""

from __future__ import annotations

import importlib.util
import os
import sys
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

import otus
from otus.ir import UnsupportedError
from otus.structures import flatten

ONE_IN = 40
EVERYWHERE = os.environ.get("OTUS_TESTS_ON", "") == "triton"
# What torch has not; these programs stay with NumPy.
_LACKS = ("torch does not compute with", "torch has no")
# What the modules that ran were made of.
RAN: Counter[str] = Counter()
# Tests that are about what NumPy's backend does beside values, by the start of their names.
NOT_ON_TRITON = {
    "language/test_indexed.py::test_a_read_outside_an_axis_is_an_error": "words of NumPy's errors",
    "language/test_places.py::test_errors_of_a_call_name_the_statement": "words of NumPy's errors",
    "language/test_programs.py::test_names_of_inner_values_reach_the_source": "NumPy source",
    "language/test_programs.py::test_names_of_values_that_become_one": "NumPy source",
    "runtime/test_compiled.py::test_what_can_be_looked_at": "NumPy source",
    "runtime/test_compiled.py::test_saved_modules_run_without_us": "NumPy source",
    "runtime/test_compiled.py::test_tracebacks_show_the_emitted_source": "NumPy source",
    "structure/test_peaks.py": "minutes in the interpreter: the sizes are large, and planned peaks are what is tested",
}  # fmt: skip


def is_sampled(text: str) -> bool:
    """Whether a program, by its text, is one of those that Triton computes too."""
    return not EVERYWHERE and zlib.crc32(text.encode()) % ONE_IN == 0 and has_triton()


def has_triton() -> bool:
    """Whether torch and Triton are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "triton"))


def assert_same_on_triton(outputs: Any, data: Mapping[str, Any], expected: Any) -> None:
    """The values of Triton's kernels are those of NumPy, in the same structure, shapes and dtypes."""
    try:
        compiled = otus.compile(outputs, backend="triton", interpret=True)
    except UnsupportedError as error:
        if not str(error).startswith(_LACKS):
            raise
        return
    found = compiled(**{name: value for name, value in data.items() if name in compiled.inputs})
    for one, other in zip(_arrays(found), _arrays(expected), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        rounding = np.finfo(other.dtype).eps if other.dtype.kind in "fc" else 0.0
        finite = np.abs(other[np.isfinite(other)]) if other.dtype.kind in "fc" else np.zeros(0)
        near = max(1e-9, 100 * float(rounding))
        np.testing.assert_allclose(one, other, near, near * float(finite.max(initial=1.0)), err_msg=compiled.source)


def _arrays(values: Any) -> list[np.ndarray]:
    dense = [x.to_dense() if hasattr(x, "to_dense") else x for x in flatten(values, _is_value)]
    return [np.asarray(x) for x in dense]


def _is_value(value: object) -> bool:
    return not isinstance(value, (list, tuple, dict))


def use_triton() -> None:
    """From here on ``otus.compile`` compiles for Triton where NumPy is asked for, or nothing."""
    from otus import compilation

    numpys = compilation.compile

    def compile(outputs: Any, backend: str = "numpy", *rest: Any, **options: Any) -> Any:
        if backend == "numpy" and not options.get("pipeline"):
            try:
                return numpys(outputs, "triton", *rest, **{**options, "interpret": True})
            except UnsupportedError as error:
                if not str(error).startswith(_LACKS):
                    raise
        return numpys(outputs, backend, *rest, **options)

    for module in [x for name, x in sys.modules.items() if name.split(".")[0] == "otus"]:
        for name, value in list(vars(module).items()):
            if value is numpys:
                setattr(module, name, compile)
    _count_modules()


def _count_modules() -> None:
    """From here on ``RAN`` counts what is loaded: that programs reach kernels is worth seeing."""
    from otus.runtime.executable import Executable

    load = Executable.load

    def counted(self: Executable, spare: list[Any] | None = None) -> Any:
        torchs = "torch's operations alone" if "import torch" in self.source else "NumPy"
        RAN["Triton's kernels" if "@triton.jit" in self.source else torchs] += 1
        return load(self, spare)

    Executable.load = counted  # type: ignore[method-assign]
