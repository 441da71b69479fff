"""The way into a compiled function: a few comparisons, written out for its inputs, and then its code.

Arrays of the backend's own type and of the declared dtypes, in shapes that were checked before, go straight to
the code that is planned for them.  All else goes to ``slow``, which converts, checks and plans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from types import CodeType
from typing import Any

from .failures import DATA_ERRORS

Enter = Callable[..., Any]
Pick = Callable[[Mapping[str, Any]], Any]


def make_entrance(
    count: int,
    ready: str,
    names: Mapping[str, Any],
    known: Mapping[tuple[tuple[int, ...], ...], Callable[..., Any]],
    finish: Callable[[Any], Any] | None,
    failed: Callable[[Exception, tuple[Any, ...]], Any],
    slow: Callable[[tuple[Any, ...]], Any],
) -> Enter:
    """A function of ``count`` arrays.

    ``ready`` is source that says whether argument ``x{k}`` may go to the code as it is, over ``names``.
    ``known`` has the code for each list of shapes, and is read at every call; ``finish`` puts its result
    into the structure that was asked for, None where it is that already; ``failed`` is called, in place of
    a result, with an error that data cause; ``slow`` with arguments that are not ready.

    >>> double = {((2,),): lambda x: 2 * x}
    >>> import numpy as np
    >>> ready, names = "type(x{k}) is ndarray", {"ndarray": np.ndarray}
    >>> enter = make_entrance(1, ready, names, double, None, lambda error, values: error, lambda values: "slow")
    >>> enter(np.ones(2)), enter(np.ones(3)), enter([1.0, 1.0])
    (array([2., 2.]), 'slow', 'slow')
    """
    namespace: dict[str, Any] = {
        **names,
        "find": known.get,
        "finish": finish,
        "failed": failed,
        "slow": slow,
        "data_errors": DATA_ERRORS,
    }
    exec(_entrance_code(count, ready, finish is not None), namespace)
    enter: Enter = namespace["enter"]
    return enter


@lru_cache(maxsize=256)
def _entrance_code(count: int, ready: str, finishes: bool) -> CodeType:
    arrays = [f"x{k}" for k in range(count)]
    given = "".join(f"{x}, " for x in arrays)
    conditions = [ready.format(k=k) for k in range(count)]
    shapes = "".join(f"{x}.shape, " for x in arrays)
    return compile(
        f"def enter({given.rstrip(', ')}):\n"
        f"    if {' and '.join(conditions) or 'True'}:\n"
        f"        run = find(({shapes}))\n"
        f"        if run is not None:\n"
        f"            try:\n"
        f"                result = run({given})\n"
        f"            except data_errors as error:\n"
        f"                result = failed(error, ({given}))\n"
        f"            return {'finish(result)' if finishes else 'result'}\n"
        f"    return slow(({given}))\n",
        "<otus entrance>",
        "exec",
    )


def make_picker(names: Sequence[str]) -> Pick:
    """A function that gives the values of ``names`` in order, as a tuple; None where one is missing.

    >>> make_picker(["B", "A"])({"A": 1, "B": 2})
    (2, 1)
    """
    if len(names) < 2:
        return lambda given: tuple([given[name] for name in names]) if given.keys() >= {*names} else None
    get = itemgetter(*names)

    def pick(given: Mapping[str, Any]) -> Any:
        try:
            return get(given)
        except KeyError:
            return None

    return pick
