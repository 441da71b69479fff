"""The text language: programs over tensors with indices, derivatives and diagnostics.

``parse`` and ``load`` cut a text into statements (:mod:`.statements`), parse each (:mod:`.parser`,
``grammar.lark``), and elaborate them in order (:mod:`.elaborate`): whole-tensor expressions by
:mod:`.evaluate`; indexed terms by the implied-sum rule (:mod:`.summation`), the binding of indices
(:mod:`.resolve`), their ranges (:mod:`.ranges`) and the nodes they make (:mod:`.assemble`).
"""

from __future__ import annotations

from .diagnostics import Diagnostic, LanguageError, Span
from .module import Module, load, parse

__all__ = ["Diagnostic", "LanguageError", "Module", "Span", "load", "parse"]
