"""What each rule does, by the name under which passes count it."""

from __future__ import annotations

import sys

from .rewrite import Rule
from .stabilise import SCALAR_PATTERNS

# Steps that passes count without being rules of the rewrite engine.
_STEPS = {
    "order_einsum": "a product of several tensors -> products of two, in the cheapest order",
    "distribute_sum": "(a + b)·c -> a·c + b·c, where the products together take fewer operations",
    "collect_factor": "a·b·c + a·d -> a·(b·c + d), where the products together take fewer operations",
    "fuse_into_reader": 'map "exp(a)" of a + b -> map "exp(a + b)", where nothing else reads the sum',
    "compute_once": "a part of several maps, or one constant along an axis -> a map of its own",
    "slice_index": "a region of the graph -> a loop over blocks of an index, which fits into memory",
    "logsumexp": "log(Σ exp(e)) -> logsumexp(e)",
    "scaled_logsumexp": "log(c·Σ exp(e)) -> logsumexp(e) + log(c), and log(1 + Σ exp(e)) -> softplus(logsumexp(e))",
    "softmax": "exp(a) / Σ exp(e) -> exp(a - logsumexp(e))",
}


def describe_rule(name: str) -> str:
    """One line, ``before -> after`` where the rule says so; empty for a name that nothing describes.

    >>> describe_rule("merge_cast")
    'cast(cast(a)) -> cast(a), where the inner cast loses nothing'
    >>> describe_rule("log1p")
    'log(1 + e) in its stable form'
    """
    if name in _STEPS:
        return _STEPS[name]
    if name in SCALAR_PATTERNS:
        return f"{_first_line(SCALAR_PATTERNS[name].__doc__)} in its stable form"
    found = _declared_rules().get(name)
    return "" if found is None else _first_line(found.description)


def _declared_rules() -> dict[str, Rule]:
    """The rules of every module of this room that is loaded, which those that fired are among."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(f"{__package__}.")]
    return {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Rule)}


def _first_line(docstring: str | None) -> str:
    lines = (docstring or "").strip().splitlines()
    return lines[0].replace("``", "").rstrip(".") if lines else ""
