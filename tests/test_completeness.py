"""Operations × tables: every cell is a rule or a written reason, never missing."""

from __future__ import annotations

import pytest

from otus.autodiff.rules import NO_RULE, RULES
from otus.autodiff.scalar_derivatives import PARTIALS, WIRTINGER
from otus.codegen.to_numpy.kernels import KERNEL_RULES
from otus.codegen.to_numpy.operations import OPERATION_RULES
from otus.codegen.to_numpy.scalars import SCALAR_RULES
from otus.codegen.to_torch.kernels import KERNEL_RULES as TORCH_KERNEL_RULES
from otus.ir import OPERATIONS, kernels
from otus.ir.scalar import SCALAR_FUNCTIONS
from otus.passes import PASSES, SIMPLIFY_RULES
from otus.runtime.reference import REFERENCE
from otus.runtime.reference_scalars import SCALAR_REFERENCE

# Operations that reach no emitter as they are, and what they become first.
LOWERED: dict[str, str] = {
    "input": "a parameter of the emitted function",
    "constant": "a literal, or a constant of the emitted module",
    "einsum": "kernels of its own: contraction, rearrangement, diagonal embedding",
    "map": "a kernel whose expression the table of scalar functions prints",
    "linear_combination": "a kernel of its own",
    "derivative": "replaced by the expand pass",
    "blockwise": "a loop kernel whose body is a program",
    "eigh": "a factorisation kernel",
    "qr": "a factorisation kernel",
    "svd": "a factorisation kernel",
    "slogdet": "a factorisation kernel",
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_derivative_rule_or_a_reason(name: str) -> None:
    assert (OPERATIONS[name] in RULES) is not (name in NO_RULE)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_reference_value(name: str) -> None:
    assert OPERATIONS[name] in REFERENCE


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_source_or_a_reason(name: str) -> None:
    assert OPERATIONS[name] in OPERATION_RULES or name in LOWERED


def test_every_kernel_has_source() -> None:
    kinds = {value for value in vars(kernels).values() if isinstance(value, type) and issubclass(value, kernels.Kernel)}
    kinds -= {kernels.Kernel}
    assert kinds - {kernels.FusedProduct} == set(KERNEL_RULES)  # only programs for GPUs have fused products
    assert kinds - {kernels.FusedProduct, kernels.BlockLoop} == set(TORCH_KERNEL_RULES)  # whose kernels are in Triton


@pytest.mark.parametrize("table", [PARTIALS, SCALAR_REFERENCE, SCALAR_RULES], ids=["derivative", "value", "source"])
def test_every_scalar_function_is_in_every_table(table: object) -> None:
    assert set(table) == set(SCALAR_FUNCTIONS)  # type: ignore[call-overload]


def test_functions_that_are_not_holomorphic_have_both_derivatives() -> None:
    assert set(WIRTINGER) <= set(SCALAR_FUNCTIONS)
    assert {"conj", "real", "imag", "abs", "sign"} <= set(WIRTINGER)


def test_every_rule_and_pass_says_what_it_does() -> None:
    for each in SIMPLIFY_RULES:
        assert "->" in each.description, f"rule {each.name} has no 'before -> after' in its docstring"
    for name, cls in PASSES.items():
        assert " in" in (cls.__doc__ or ""), f"pass {name} does not say what goes in and what comes out"


def test_operations_are_about_thirty() -> None:
    assert len(OPERATIONS) <= 32, "a user-level function should be built from operations, not become one"
