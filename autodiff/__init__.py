"""Derivatives: one rule per operation, and the sweeps that apply them."""

from __future__ import annotations

from .requests import expand_together

__all__ = ["expand_together"]
