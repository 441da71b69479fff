"""The libraries that Otus is measured beside, and one spelling of their functions.

A problem is written once, as ``function(library, tensors)``, where ``library`` has the names of
:func:`library`; the derivative is each library's own.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from types import SimpleNamespace
from typing import Any

from .harness import UnavailableError
from .machine import cores

MODULES = {"physics-tenpy": "tenpy"}  # where a package is imported by another name
NAMES = ("jax", "torch", "tensorly", "opt_einsum", "cotengra", "quimb", "physics-tenpy", "numexpr", "tensorgrad")


def installed() -> dict[str, bool]:
    """Which of the peers can be imported here."""
    return {name: importlib.util.find_spec(MODULES.get(name, name)) is not None for name in NAMES}


@cache
def need(name: str) -> Any:
    """The module of a peer, set up for float64 on all cores; raises ``UnavailableError`` where it is missing."""
    module = MODULES.get(name, name)
    if importlib.util.find_spec(module) is None:
        raise UnavailableError("not installed")
    found = importlib.import_module(module)
    if name == "jax":
        found.config.update("jax_enable_x64", True)
    if name == "torch":
        found.set_num_threads(cores())
    if name == "tensorly":
        found.set_backend("numpy")
    return found


@cache
def library(name: str) -> SimpleNamespace:
    """Functions of ``"otus"``, ``"jax"`` or ``"torch"`` under one set of names."""
    return {"otus": _otus, "jax": _jax, "torch": _torch}[name]()


_PLAIN = ["einsum", "exp", "log", "sqrt", "square", "sin", "tanh", "sum", "mean", "where"]


def _otus() -> SimpleNamespace:
    import otus

    names = (*_PLAIN, "logsumexp", "log_softmax", "softmax", "relu", "gelu", "softplus", "sigmoid", "solve", "logdet")
    return SimpleNamespace(**{name: getattr(otus, name) for name in names})


def _jax() -> SimpleNamespace:
    jax = need("jax")
    names = ("logsumexp", "log_softmax", "softmax", "relu", "softplus", "sigmoid")
    return SimpleNamespace(
        **{name: getattr(jax.numpy, name) for name in _PLAIN},
        **{name: getattr(jax.nn, name) for name in names},
        gelu=lambda x: jax.nn.gelu(x, approximate=False),
        solve=jax.numpy.linalg.solve,
        logdet=lambda a: jax.numpy.linalg.slogdet(a)[1],
    )


def _torch() -> SimpleNamespace:
    torch = need("torch")
    functional = torch.nn.functional
    along = {name: getattr(torch, name) for name in ("logsumexp", "log_softmax", "softmax")}
    return SimpleNamespace(
        **{name: getattr(torch, name) for name in _PLAIN if name not in ("sum", "mean")},
        **{name: _along(function) for name, function in along.items()},
        sum=_reduction(torch.sum),
        mean=_reduction(torch.mean),
        relu=functional.relu,
        gelu=functional.gelu,
        softplus=functional.softplus,
        sigmoid=torch.sigmoid,
        solve=torch.linalg.solve,
        logdet=torch.logdet,
    )


def _along(function: Any) -> Any:
    return lambda x, axis: function(x, dim=axis)


def _reduction(function: Any) -> Any:
    def reduce(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(x) if axis is None else function(x, dim=axis, keepdim=keepdims)

    return reduce
