"""Programs to source text, one emitter a target."""

from __future__ import annotations

from .emitted import Emitted, Statement
from .to_numpy.emitter import emit_numpy
from .to_triton.emitter import Otherwise, emit_triton

__all__ = ["Emitted", "Otherwise", "Statement", "emit_numpy", "emit_triton"]
