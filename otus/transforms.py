"""Functions of arrays: ``@otus.function``, and derivatives of Python functions.

Each derivative of section "derivatives" takes an expression, or a Python function over
expressions; of a function it returns a function of concrete arrays.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .compilation import compile
from .frontend import Expression, as_expression, derivatives
from .frontend.creation import tensor
from .ir import DType, NamingError, OtusError, as_dtype, promote
from .structures import flatten, paths, rebuild

if TYPE_CHECKING:
    from .runtime.compiled import CompiledFunction

Builder = Callable[..., Any]


def _is_argument(value: object) -> bool:
    return not isinstance(value, (list, tuple, dict))


def _is_output(value: object) -> bool:
    return not isinstance(value, (list, tuple, dict))


class ArrayFunction:
    """A Python function over expressions, called with arrays and compiled once per shapes and dtypes.

    Arguments are arrays, or lists, tuples and dicts of them.  Python floats and complex numbers become
    scalars of the widest floating dtype among the arrays.  Python ints, bools, strings and None are
    constants, as they would be in NumPy code (``axis=0``): another value compiles anew.  Given
    expressions, the function builds an expression, so that functions nest.  The result has the
    structure that the function returns.
    """

    def __init__(self, build: Builder, backend: str = "numpy") -> None:
        functools.update_wrapper(self, build)
        self._build = build
        self._backend = backend
        self._compiled: dict[object, tuple[CompiledFunction, list[str]]] = {}

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run on arrays; compiles on the first call for these shapes and dtypes.

        Raises ``NamingError`` where the arguments are not those of the function.
        """
        arguments = self._bound(args, kwargs)
        leaves = flatten(arguments, _is_argument)
        if any(isinstance(leaf, Expression) for leaf in leaves):
            return self._build(*args, **kwargs)
        compiled, names = self._find(arguments)
        values = dict(zip(names, leaves, strict=True))
        return compiled(**{name: values[name] for name in compiled.inputs})

    def lower(self, /, *args: Any, **kwargs: Any) -> CompiledFunction:
        """The compiled function for arguments like these, for looking at its source and report."""
        return self._find(self._bound(args, kwargs))[0]

    def _bound(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = inspect.signature(self._build).bind(*args, **kwargs)
        except TypeError as error:
            name = getattr(self._build, "__name__", "function")
            raise NamingError(f"{name}{inspect.signature(self._build)}: {error}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def _find(self, arguments: dict[str, Any]) -> tuple[CompiledFunction, list[str]]:
        leaves = flatten(arguments, _is_argument)
        types = _argument_types(leaves)
        names = paths(arguments, _is_argument)
        static = tuple((type(x), x) if kind is None else None for x, kind in zip(leaves, types, strict=True))
        key = (tuple(names), tuple(types), static)
        if key not in self._compiled:
            given = [
                leaf if kind is None else tensor(name, *kind)
                for leaf, name, kind in zip(leaves, names, types, strict=True)
            ]
            result = self._trace(rebuild(arguments, given, _is_argument))
            self._compiled[key] = (compile(result, backend=self._backend), names)
        return self._compiled[key]

    def _trace(self, arguments: dict[str, Any]) -> Any:
        signature = inspect.signature(self._build)
        bound = inspect.BoundArguments(signature, OrderedDict(arguments))
        result = self._build(*bound.args, **bound.kwargs)
        leaves = [as_expression(leaf) for leaf in flatten(result, _is_output)]
        return rebuild(result, leaves, _is_output)


Kind = tuple[tuple[int, ...], DType]


def _is_static(leaf: object) -> bool:
    """Whether an argument is a constant of the function rather than data."""
    return leaf is None or isinstance(leaf, (bool, int, str)) or callable(leaf)


def _argument_types(leaves: Sequence[Any]) -> list[Kind | None]:
    """The shape and dtype of each argument; None for those that are constants."""
    arrays = [leaf for leaf in leaves if not _is_static(leaf) and not isinstance(leaf, (float, complex))]
    known = [(tuple(map(int, np.shape(x))), _dtype_of(x)) for x in arrays]
    floats = [dtype for _, dtype in known if dtype.is_inexact] or [DType.float64]
    rest = iter(known)
    found: list[Kind | None] = []
    for leaf in leaves:
        if _is_static(leaf):
            found.append(None)
        else:
            found.append(((), promote(*floats, leaf)) if isinstance(leaf, (float, complex)) else next(rest))
    return found


def _dtype_of(value: Any) -> DType:
    if not hasattr(value, "dtype"):
        return as_dtype(np.asarray(value).dtype)
    return as_dtype(str(value.dtype).removeprefix("torch."))


def function(build: Builder | None = None, *, backend: str = "numpy") -> Any:
    """Turn a Python function over expressions into one that takes arrays.

    >>> import numpy, otus
    >>> @otus.function
    ... def squared_norm(x):
    ...     return (x * x).sum()
    >>> float(squared_norm(numpy.arange(3.0)))
    5.0
    """
    if build is None:
        return lambda each: ArrayFunction(each, backend)
    if not callable(build):
        raise OtusError(f"otus.function takes a Python function, not {build!r}")
    return ArrayFunction(build, backend)


def _python_function(value: object) -> Builder | None:
    if isinstance(value, ArrayFunction):
        return value._build
    return value if callable(value) and not isinstance(value, Expression) else None


def _positions(argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    listed = (argnums,) if not isinstance(argnums, Sequence) else tuple(argnums)
    if not listed or not all(isinstance(number, int) for number in listed):
        raise OtusError(f"argnums={argnums!r} is not a position, nor a sequence of positions")
    for number in listed:
        if not -count <= number < count:
            raise OtusError(f"argnums={argnums!r}, but the function is called with {count} arguments")
    return tuple(number % count for number in listed)


def _derive(
    build: Builder, argnums: int | Sequence[int], derive: Callable[[Any, list[Expression]], Any], order: int = 1
) -> ArrayFunction:
    """A function whose result is ``derive(f(*args), points)``, in the structure of the arguments.

    A derivative of order 2 is a list of lists, and has that structure twice: rows, then columns.  Jacobians
    of several results have the structure of the results around it.
    """

    @functools.wraps(build)
    def derived(*args: Any) -> Any:
        chosen = [args[k] for k in _positions(argnums, len(args))]

        def shaped(results: Sequence[Any]) -> Any:
            found = iter(results)
            each = [rebuild(x, [next(found) for _ in flatten(x, _is_argument)], _is_argument) for x in chosen]
            return each[0] if isinstance(argnums, int) else tuple(each)

        points = flatten(chosen, _is_argument)

        def of_output(output: Any) -> Any:
            results = derive(output, points)
            return shaped(results if order == 1 else [shaped(row) for row in results])

        value = build(*args)
        if derive is not derivatives.jacobian and not _is_output(value):
            raise OtusError(f"{derive.__name__} takes a function of one scalar result, not a {type(value).__name__}")
        return rebuild(value, [of_output(output) for output in flatten(value, _is_output)], _is_output)

    derived.__signature__ = _positional_signature(build)  # type: ignore[attr-defined]
    return ArrayFunction(derived)


def _positional_signature(build: Builder) -> inspect.Signature:
    """The positional parameters of ``build``, without keyword-only ones, which cannot be differentiated."""
    signature = inspect.signature(build)
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    kept = [p for p in signature.parameters.values() if p.kind not in kinds]
    return signature.replace(parameters=kept)


def grad(loss: Any, x: Any = None, *, argnums: int | Sequence[int] = 0) -> Any:
    """The gradient of a scalar expression, or of a Python function.

    ``grad(loss, x)`` is an expression of the shape of ``x`` (a list for a list).  ``grad(f, argnums=0)`` is a
    function of arrays.  Complex gradients follow JAX: ``∂f/∂Re(x) − i·∂f/∂Im(x)``.

    >>> import numpy, otus
    >>> otus.grad(lambda x: (x ** 3).sum())(numpy.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    build = _python_function(loss)
    if build is None:
        return derivatives.grad(loss, _required("grad", x))
    return _derive(build, argnums if x is None else x, derivatives.grad)


def jacobian(y: Any, x: Any = None, *, argnums: int | Sequence[int] = 0) -> Any:
    """The explicit Jacobian of an expression or a Python function: the axes of ``y``, then of ``x``."""
    build = _python_function(y)
    if build is None:
        return derivatives.jacobian(y, _required("jacobian", x))
    return _derive(build, argnums if x is None else x, derivatives.jacobian)


def hessian(loss: Any, x: Any = None, *, argnums: int | Sequence[int] = 0) -> Any:
    """The explicit Hessian of a scalar expression (blocks for a list), or of a Python function.

    Of a function: of one argument, or for several ``argnums`` a tuple of tuples of blocks, as in JAX.

    >>> import numpy, otus
    >>> blocks = otus.hessian(lambda x, y: (x * x * y).sum(), argnums=(0, 1))(numpy.ones(1), numpy.ones(1))
    >>> blocks[0][1]
    array([[2.]])
    """
    build = _python_function(loss)
    if build is None:
        return derivatives.hessian(loss, _required("hessian", x))
    return _derive(build, argnums if x is None else x, derivatives.hessian, order=2)


def _required(name: str, value: Any) -> Any:
    if value is None:
        raise OtusError(f"{name} of an expression needs its other arguments; see help(otus.{name})")
    return value


def _product(name: str, y: Any, x: Any, v: Any, argnums: int | Sequence[int]) -> Any:
    rule: Callable[..., Any] = getattr(derivatives, name)
    build = _python_function(y)
    if build is None:
        return rule(y, _required(name, x), _required(name, v))
    single = isinstance(argnums, int)
    count = 1 if single or name == "vjp" else len(argnums)  # type: ignore[arg-type]

    def product(*args: Any) -> Any:
        primals, vectors = args[:-count], args[-count:]
        points = [primals[k] for k in _positions(argnums, len(primals))]
        result = rule(build(*primals), flatten(points, _is_argument), flatten(list(vectors), _is_argument))
        return result[0] if isinstance(result, list) and single else result

    return ArrayFunction(product)


def jvp(y: Any, x: Any = None, v: Any = None, *, argnums: int | Sequence[int] = 0) -> Any:
    """The product ``Jv`` of an expression: ``jvp(y, [x], [v])`` has the shape of ``y``.

    Of a Python function: a function of its arguments followed by one ``v`` for each of ``argnums``.
    """
    return _product("jvp", y, x, v, argnums)


def vjp(y: Any, x: Any = None, u: Any = None, *, argnums: int | Sequence[int] = 0) -> Any:
    """Products ``uᵀJ`` of an expression, one for each ``x``: ``vjp(y, [x], [u])``.

    Of a Python function: a function of its arguments followed by ``u``.
    """
    return _product("vjp", y, x, u, argnums)


def hvp(loss: Any, x: Any = None, v: Any = None, *, argnums: int | Sequence[int] = 0) -> Any:
    """Hessian-vector products of a scalar, one for each ``x``; the Hessian is never formed.

    Of a Python function: a function of its arguments followed by one ``v`` for each of ``argnums``.
    """
    return _product("hvp", loss, x, v, argnums)


def jtjvp(y: Any, x: Any = None, v: Any = None, *, argnums: int | Sequence[int] = 0) -> Any:
    """Gauss-Newton products ``JᵀJv``, one for each ``x``.

    Of a Python function: a function of its arguments followed by one ``v`` for each of ``argnums``.
    """
    return _product("jtjvp", y, x, v, argnums)
