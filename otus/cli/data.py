"""Data from the command line: what ``--in NAME=SOURCE`` stands for.

Files are read as data, never as code: nothing is unpickled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..frontend import Expression
from ..ir import OtusError, UnsupportedError
from ..ir.dtypes import to_numpy_dtype
from ..ir.errors import nearest

Array = npt.NDArray[Any]

ACCEPTED = (
    "accepted are files .npy, .npz:name, .csv, .mtx, .pt:name, .safetensors:name, "
    "and the words random[:seed], zeros, ones, or a number"
)
_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile)


class Place:
    """Where one tensor's data come from, for messages."""

    def __init__(self, name: str, tensor: Expression, path: Path, member: str | None) -> None:
        self.name, self.type, self.path, self.member = name, tensor.node.type, path, member

    def error(self, reason: str) -> OtusError:
        """The error that says why the data are not read."""
        return OtusError(f"data for tensor {self.name!r}: {self.path} {reason}")


def read_file(name: str, tensor: Expression, source: str) -> Array:
    """The array that ``source`` (a path, with ``:name`` for files of several arrays) holds for a tensor.

    Raises ``OtusError`` naming the tensor, the file, and what would be accepted.
    """
    path, member = split_source(source)
    reader = _READERS.get(path.suffix.lower())
    place = Place(name, tensor, path, member)
    if reader is None:
        raise OtusError(f"data for tensor {name!r}: {source!r} is not understood; {ACCEPTED}")
    if member is not None and path.suffix.lower() not in _CONTAINERS:
        raise place.error(f"holds one array, so {member!r} cannot be chosen from it; write {name}={path}")
    if not path.is_file():
        raise place.error("is not a file" if path.exists() else "does not exist")
    return reader(place)


def split_source(source: str) -> tuple[Path, str | None]:
    """The path, and the name after the colon where the path is that of a file of several arrays.

    >>> split_source("data.npz:X")[1]
    'X'
    """
    head, colon, member = source.rpartition(":")
    if colon and Path(head).suffix.lower() in _READERS:
        return Path(head), member
    return Path(source), None


# --- one reader for each kind of file ----------------------------------------------------------


def _read_npy(place: Place) -> Array:
    loaded = _load_numpy(place)
    if not isinstance(loaded, np.ndarray):
        raise place.error("is an archive of arrays; name it .npz")
    return loaded


def _read_npz(place: Place) -> Array:
    archive = _load_numpy(place)
    if isinstance(archive, np.ndarray):
        raise place.error("is a single array; name it .npy")
    with archive:
        key = _choose(place, list(archive.files))
        try:
            array: Array = archive[key]
        except _UNREADABLE as error:
            raise place.error(f"cannot be read at {key!r}: {error}") from None
    return array


def _load_numpy(place: Place) -> Any:
    try:
        return np.load(place.path, allow_pickle=False)
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        if "pickle" in reason:
            reason = "it holds Python objects or is damaged, and objects are not read, since they can run code"
        raise place.error(f"cannot be read: {reason}; save numbers with numpy.save or numpy.savez") from None


def _read_csv(place: Place) -> Array:
    if place.type.ndim > 2:
        raise place.error(f"has two axes at most, but the tensor has {place.type.ndim}; use .npy")
    dtype = to_numpy_dtype(place.type.dtype)
    table = _load_table(place, np.dtype(np.int64) if dtype == np.bool_ else dtype)
    return _with_rank(place, _cast_text(place, table))


def _load_table(place: Place, dtype: np.dtype[Any]) -> Array:
    """The numbers of a CSV file, after one line of headings where there is one."""
    try:
        lines = place.path.read_text("utf-8-sig").splitlines()
    except _UNREADABLE as error:
        raise place.error(f"cannot be read: {error}") from None
    if lines and not any(_is_number(cell) for cell in lines[0].split(",")):
        lines = lines[1:]
    if not any(line.strip() for line in lines):
        raise place.error("holds no numbers; lines of numbers with commas between them are accepted")
    try:
        return np.loadtxt(lines, delimiter=",", dtype=dtype, ndmin=2)
    except ValueError as error:
        reason = str(error).splitlines()[0].removesuffix(".")
        raise place.error(
            f"cannot be read: {reason}; lines of {place.type.dtype} numbers with commas between them are accepted, "
            "after at most one line of headings"
        ) from None


def _is_number(cell: str) -> bool:
    try:
        complex(cell.strip())
    except ValueError:
        return False
    return True


def _with_rank(place: Place, table: Array) -> Array:
    """A table as a tensor of rank 0 to 2: a single row or column is a vector."""
    rank = place.type.ndim
    if (rank == 1 and 1 in table.shape) or (rank == 0 and table.size == 1):
        return table.reshape((-1,) if rank else ())
    if rank < 2:
        axes = "1 axis" if rank == 1 else "no axes"
        raise place.error(f"has {table.shape[0]} rows and {table.shape[1]} columns, but the tensor has {axes}")
    return table


def _read_mtx(place: Place) -> Array:
    from scipy.io import mmread

    try:
        matrix = mmread(place.path)
    except _UNREADABLE as error:
        raise place.error(f"is no Matrix Market file: {error}") from None
    return _with_rank(place, _cast_text(place, matrix if isinstance(matrix, np.ndarray) else matrix.toarray()))


def _cast_text(place: Place, array: Array) -> Array:
    """Numbers from text have no dtype of their own: they take the tensor's, unless that loses information."""
    cast = array.astype(to_numpy_dtype(place.type.dtype))
    exact = cast.dtype.kind == "f" and array.dtype.kind in "if"
    if not exact and not np.array_equal(cast, array):
        raise place.error(f"holds numbers that are not {place.type.dtype}")
    return cast


def _read_torch(place: Place) -> Array:
    try:
        import torch
    except ImportError:
        raise UnsupportedError(
            f"data for tensor {place.name!r}: {place.path} needs PyTorch; type: pip install torch"
        ) from None
    import pickle

    try:
        loaded = torch.load(place.path, map_location="cpu", weights_only=True)
    except (*_UNREADABLE, RuntimeError, pickle.UnpicklingError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise place.error(f"cannot be read as weights only: {reason}; save a tensor, or a dict of tensors") from None
    if isinstance(loaded, dict):
        loaded = loaded[_choose(place, [key for key, value in loaded.items() if isinstance(value, torch.Tensor)])]
    if not isinstance(loaded, torch.Tensor):
        raise place.error(f"holds a {type(loaded).__name__}; a tensor or a dict of tensors is accepted")
    try:
        array: Array = loaded.detach().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError):
        raise place.error(f"holds {loaded.dtype}, which NumPy has not; save it as .float()") from None
    return array


def _read_safetensors(place: Place) -> Array:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UnsupportedError(
            f"data for tensor {place.name!r}: {place.path} needs safetensors; type: pip install safetensors"
        ) from None
    try:
        with safe_open(place.path, framework="numpy") as archive:
            key = _choose(place, list(archive.keys()))
            array: Array = archive.get_tensor(key)
    except (SafetensorError, TypeError, AttributeError, OSError) as error:
        raise place.error(f"cannot be read: {error}; dtypes of NumPy are accepted") from None
    return array


def _choose(place: Place, keys: list[Any]) -> Any:
    """The array asked for; without a name, the one of the tensor's name, or the only one."""
    listed = ", ".join(map(str, keys)) or "nothing"
    if place.member is not None:
        if place.member not in keys:
            hint = nearest(place.member, map(str, keys)) or f"; it holds {listed}"
            raise place.error(f"has no array {place.member!r}{hint}")
        return place.member
    if place.name in keys:
        return place.name
    if len(keys) == 1:
        return keys[0]
    raise place.error(f"holds {listed}; choose one: --in {place.name}={place.path}:{keys[0] if keys else 'NAME'}")


_READERS: Mapping[str, Callable[[Place], Array]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".mtx": _read_mtx,
    ".pt": _read_torch,
    ".safetensors": _read_safetensors,
}
_CONTAINERS = (".npz", ".pt", ".safetensors")
