"""JAX as the suite uses it: float64, on the CPU, compiled whole with little optimisation.

Compiling one program at once without optimising it takes a tenth of the time of running it operation
by operation.
"""

from __future__ import annotations

import os

os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)  # read when jax is imported

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

__all__ = ["jax"]
