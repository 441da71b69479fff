"""Pictures of factors, where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .cp_decomposition import Data

Array = npt.NDArray[Any]


def matplotlib_is_installed() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("matplotlib") is not None


def draw_factors(data: Data, factors: Sequence[Array], title: str, path: Path) -> None:
    """One panel for each axis, one line for each component, the strongest first; saved to ``path``.

    Columns are scaled to a largest magnitude of 1, with signs that make most of each positive.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(factors), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    order = np.argsort(-np.prod([np.linalg.norm(x, axis=0) for x in factors], axis=0))
    panels = figure.subplots(1, len(factors), sharey=True, squeeze=False)[0]
    for panel, factor, mode, ticks in zip(panels, factors, data.modes, data.ticks, strict=True):
        for number, column in enumerate(upright(factor[:, order]).T, start=1):
            places = np.argsort(ticks, kind="stable")
            panel.plot(ticks[places], column[places], linewidth=1.2, label=f"component {number}")
        panel.set_xlabel(mode)
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    panels[0].set_ylabel("loading")
    panels[-1].legend(fontsize="small", frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def upright(factor: Array) -> Array:
    """Columns scaled to a largest magnitude of 1 and a nonnegative sum.

    >>> upright(np.array([[-2.0, 0.0], [-1.0, 4.0]]))
    array([[1. , 0. ],
           [0.5, 1. ]])
    """
    signs = np.where(factor.sum(axis=0) < 0, -1.0, 1.0)
    largest = np.max(np.abs(factor), axis=0)
    return np.asarray(factor * signs / np.where(largest == 0, 1.0, largest))
