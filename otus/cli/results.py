"""The outputs of a run: shown in a few lines, as JSON, or saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import OtusError, as_dtype

Array = npt.NDArray[Any]
_SHOWN = 16  # elements shown one by one
_IN_JSON = 1000  # elements that JSON lists


def summarise(outputs: Mapping[str, Array]) -> str:
    """Each output: its type, then its elements where they are few, else its norm and range.

    >>> print(summarise({"y": np.array([1.0, 2.0]), "loss": np.array(0.5)}))
    y: f64[2] = [1. 2.]
    loss: f64[] = 0.5
    """
    return "\n".join(_line(name, array) for name, array in outputs.items())


def _line(name: str, array: Array) -> str:
    head = f"{name}: {as_dtype(array.dtype).short}[{','.join(map(str, array.shape))}]"
    if array.size == 0:
        return f"{head}  empty"
    if array.ndim == 0:
        return f"{head} = {array.item()!r}"
    if array.size <= _SHOWN:
        text = np.array2string(array, precision=8)
        return f"{head} = {text}" if array.ndim == 1 else f"{head} =\n{_indented(text)}"
    return "  ".join([head, *(f"{word} {value:.6g}" for word, value in _statistics(array).items())])


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _statistics(array: Array) -> dict[str, float]:
    """Norm, least and greatest element, and how many are not finite; of complex arrays, of the magnitudes."""
    magnitudes = np.abs(array) if np.iscomplexobj(array) else array.astype(np.float64)
    finite = magnitudes[np.isfinite(magnitudes)]
    found = {"norm": float(np.linalg.norm(magnitudes))}
    if finite.size:
        found |= {"min": float(finite.min()), "max": float(finite.max())}
    missing = array.size - finite.size
    return found | ({"not finite": float(missing)} if missing else {})


def describe(outputs: Mapping[str, Array]) -> dict[str, Any]:
    """The outputs for JSON: shape and dtype, and the values where there are at most a thousand."""
    return {
        name: {
            "shape": list(array.shape),
            "dtype": array.dtype.name,
            **({"values": array.tolist()} if array.size <= _IN_JSON else _statistics(array)),
        }
        for name, array in outputs.items()
    }


def check_target(path: Path, names: list[str]) -> None:
    """Raise ``OtusError`` unless the outputs can be saved to ``path``, before anything is computed."""
    if path.suffix.lower() not in (".npz", ".npy"):
        raise OtusError(f"results cannot be saved as {str(path)!r}; a name ending in .npz or .npy is accepted")
    if path.suffix.lower() == ".npy" and len(names) != 1:
        raise OtusError(
            f"{path} holds one array, but there are {len(names)} outputs, {', '.join(names)}; "
            f"write --out {path.with_suffix('.npz')}"
        )
    if not path.parent.is_dir():
        raise OtusError(f"results cannot be saved as {path}: {path.parent} is not a folder")


def save(outputs: Mapping[str, Array], path: Path) -> None:
    """Write the outputs: one array as ``.npy``, any number under their names as ``.npz``."""
    try:
        with path.open("wb") as file:
            if path.suffix.lower() == ".npy":
                (array,) = outputs.values()
                np.save(file, array, allow_pickle=False)
            else:
                _save_archive(outputs, file)
    except OSError as error:
        raise OtusError(f"results cannot be saved as {path}: {error.strerror or error}") from None


def _save_archive(outputs: Mapping[str, Array], file: Any) -> None:
    """As ``numpy.savez``, whose own parameters would clash with outputs of their names."""
    import zipfile

    with zipfile.ZipFile(file, "w") as archive:
        for name, array in outputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
