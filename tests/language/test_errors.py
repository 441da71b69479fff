"""Exact texts of diagnostics: sentence, place, carets, hint."""

from __future__ import annotations

import pytest

from otus.frontend.language import LanguageError, parse
from otus.ir import OtusError

HEADER = "dim n = 5, m\ntensor A[n,3], B[4,n], x[n], X[m,m] : float32\n"

EXACT: dict[str, str] = {
    "s = (A[i,j] - A[i,j]) ^ 2": """\
p.otus:3:5: indices 'i' and 'j' are not on the left, and are not repeated in a product to be summed over
    3 | s = (A[i,j] - A[i,j]) ^ 2
      |     ^^^^^^^^^^^^^^^^^^^^^
  hint: to sum, write sum[i,j](...); to keep them, write s[i,j] = …""",
    "s = x[i]": """\
p.otus:3:5: index 'i' is not on the left, and is not repeated in a product to be summed over
    3 | s = x[i]
      |     ^^^^
  hint: to sum, write sum[i](...); to keep it, write s[i] = …""",
    "y[i,j] = A[i,k] * B[k,j]": """\
p.otus:3:21: index 'k' has size 3 on axis 1 of A (line 3) and size 4 on axis 0 of B
    3 | y[i,j] = A[i,k] * B[k,j]
      |                     ^
  hint: indices of one name in a product range over axes of one size""",
    "y[i] = A[i]": """\
p.otus:3:8: A has 2 axes (shape (5, 3)), but 1 index
    3 | y[i] = A[i]
      |        ^^^^""",
    "y[i] = x[i] * x": """\
p.otus:3:15: x has 1 axis (shape (5,)) and stands without indices in an indexed term
    3 | y[i] = x[i] * x
      |               ^
  hint: name its axes: x[i]""",
    "y[i] = norm(A[i,j])": """\
p.otus:3:13: norm takes whole tensors, but indices 'i' and 'j' are free in its argument
    3 | y[i] = norm(A[i,j])
      |             ^^^^^^
  hint: give the argument a name first: t[i,j] = …""",
    "y = sofmax(x)": """\
p.otus:3:5: unknown function 'sofmax'
    3 | y = sofmax(x)
      |     ^^^^^^
  hint: did you mean 'softmax'?""",
    "y = softmax(x, axs=0)": """\
p.otus:3:5: softmax has no argument 'axs'
    3 | y = softmax(x, axs=0)
      |     ^^^^^^^^^^^^^^^^^
  hint: did you mean 'axis'?""",
    "residual = x\ny = residul + 1": """\
p.otus:4:5: unknown name 'residul'
    4 | y = residul + 1
      |     ^^^^^^^
  hint: did you mean 'residual'?""",
    "y = late + 1\nlate = 2 * x": """\
p.otus:3:5: 'late' has no value yet; it gets one in line 4
    3 | y = late + 1
      |     ^^^^
  hint: move that line up""",
    "y[n] = x[n+1]": """\
p.otus:3:10: x[n+1] reaches position 5, outside its axis of size 5
    3 | y[n] = x[n+1]
      |          ^^^
  hint: 'n' is a dim; the range of an index that is no dim is inferred""",
    "y[i] = x[i+7]": """\
p.otus:3:10: no value of 'i' keeps x[i+7] inside its axis of size 5
    3 | y[i] = x[i+7]
      |          ^^^""",
    "dim t = 3\ns = A[i,t] * A[i,t] + x[t] * x[t]": """\
p.otus:4:25: axis 0 of x has size 5, but its index 't' is a dim of size 3 (line 3)
    4 | s = A[i,t] * A[i,t] + x[t] * x[t]
      |                         ^
  hint: use a letter that is no dim here, or declare the axis as 't'""",
    "y[m] = x[m]": """\
p.otus:3:10: axis 0 of x has size 5, but its index 'm' is another dim (line 1)
    3 | y[m] = x[m]
      |          ^
  hint: use a letter that is no dim here, or declare the axis as 'm'""",
    "dim t = 2\ny[t] = x[t] - x[t+4]": """\
p.otus:4:17: x[t+4] reaches position 5, outside its axis of size 5
    4 | y[t] = x[t] - x[t+4]
      |                 ^^^
  hint: 't' is a dim; the range of an index that is no dim is inferred""",
    "dim t = 6\ny[t] = x[t] - x[t-0]": """\
p.otus:4:10: axis 0 of x has size 5, but its index 't' is a dim of size 6 (line 3)
    4 | y[t] = x[t] - x[t-0]
      |          ^
  hint: use a letter that is no dim here, or declare the axis as 't'""",
    "y[i] = x[i] - x[i-1]": """\
p.otus:3:17: index 'i' starts at 1 to keep x[i-1] inside its axis, but the axis 'i' of the result starts at 0
    3 | y[i] = x[i] - x[i-1]
      |                 ^^^
  hint: write i+1 in place of i everywhere on the right""",
    "tensor v[p], w[q]\ny[i] = v[i-k] * w[k]": """\
p.otus:4:10: index 'i' starts at q-1 to keep v[i-k] inside its axis, but the axis 'i' of the result starts at 0
    4 | y[i] = v[i-k] * w[k]
      |          ^^^
  hint: write i+q-1 in place of i everywhere on the right""",
    "y[j,i] = delta[i,j] * (x[i-1] + x[i])": """\
p.otus:3:26: index 'i' starts at 1 to keep x[i-1] inside its axis, but the axis 'i' of the result starts at 0
    3 | y[j,i] = delta[i,j] * (x[i-1] + x[i])
      |                          ^^^
  hint: write i+1 in place of i everywhere on the right""",
    "y = 2 - x[i] * x": """\
p.otus:3:9: index 'i' is not on the left, and is not repeated in a product to be summed over
    3 | y = 2 - x[i] * x
      |         ^^^^^^^^
  hint: x stands without its indices; write x[i]""",
    "y[i] = A[i,j] * -2 * B": """\
p.otus:3:8: index 'j' is not on the left, and is not repeated in a product to be summed over
    3 | y[i] = A[i,j] * -2 * B
      |        ^^^^^^^^^^^^^^^
  hint: B stands without its indices; write B[j,k]""",
    "y = exp((x[i] - x) ^ 2)": """\
p.otus:3:5: index 'i' is not on the left, and is not repeated in a product to be summed over
    3 | y = exp((x[i] - x) ^ 2)
      |     ^^^^^^^^^^^^^^^^^^^
  hint: x stands without its indices; write x[i]""",
    "y = svd(A)": """\
p.otus:3:1: an output is a tensor; 'y' is a list of 3
    3 | y = svd(A)
      | ^
  hint: name its parts: U, S, Vh = …, or pick one: y[0]""",
    "r = qr(A)\noutput r": """\
p.otus:4:8: an output is a tensor; 'r' is a list of 2
    4 | output r
      |        ^
  hint: name its parts: Q, R = …, or pick one: r[0]""",
    "u, s = svd(A)\nz = u @ s": """\
p.otus:3:8: 2 names stand for the parts of a list of 3
    3 | u, s = svd(A)
      |        ^^^^^^
  hint: name its parts: U, S, Vh = …""",
    "a, b = x": """\
p.otus:3:8: 2 names stand for the parts of a tensor of float32 and shape (5,)
    3 | a, b = x
      |        ^
  hint: write a = …""",
    "a, a = qr(A)": """\
p.otus:3:4: 'a' is named twice
    3 | a, a = qr(A)
      |    ^
  hint: a name has one value""",
    "A, b = qr(A)": """\
p.otus:3:1: 'A' already has a value, from line 2
    3 | A, b = qr(A)
      | ^
  hint: a name has one value; choose another name""",
    "q, r = qr(Y)\nz = q @ r": """\
p.otus:3:11: unknown name 'Y'
    3 | q, r = qr(Y)
      |           ^
  hint: known names are A, B, x, X, n, m""",
    "dim k = 3\ny[i,k] = x[i] ^ k": """\
p.otus:4:17: 'k' is an index here; on its own it could mean its position or its size
    4 | y[i,k] = x[i] ^ k
      |                 ^
  hint: for its position, write arange(k)[k]; for its size, give the index another letter""",
    "y = sum[i](cos(i * x[i]))": """\
p.otus:3:16: 'i' is an index here, and has no value on its own
    3 | y = sum[i](cos(i * x[i]))
      |                ^
  hint: for its position, write arange(n)[i], where n is the size of its axis""",
    "y[i] = x[i] - A[i, B[i,i]]": """\
p.otus:3:20: the subscript B[i,i] is an element of a tensor; subscripts are sums of indices and integers
    3 | y[i] = x[i] - A[i, B[i,i]]
      |                    ^^^^^^
  hint: gather from whole tensors with take(A, indices, axis), or pick by sum[k]([k == B[i,i]] * …)""",
    "y = A' * 2": """\
p.otus:3:6: the text that starts with ' has no end on its line
    3 | y = A' * 2
      |      ^
  hint: a transpose is x.T""",
    "y = A ^ T": """\
p.otus:3:9: unknown name 'T'
    3 | y = A ^ T
      |         ^
  hint: a transpose is x.T""",
    "y = x if n > 2 else 0": """\
p.otus:3:7: 'if' is out of place; expected the end of the line, '(', '[' or an operator
    3 | y = x if n > 2 else 0
      |       ^^
  hint: choose with where(condition, x, y)""",
    "y = x\ny += 1": """\
p.otus:4:3: '+' is out of place; expected ',', '=' or '['
    4 | y += 1
      |   ^
  hint: a name has one value; give the new value a name of its own""",
    "y = x[i+k] * x[i+k]": """\
p.otus:3:7: the ranges of 'i' and 'k' cannot both be inferred from x[i+k]
    3 | y = x[i+k] * x[i+k]
      |       ^^^
  hint: declare one: dim k = …, or use it alone on an axis of another tensor""",
    "d[i,j] = 3": """\
p.otus:3:3: the range of index 'i' is not known
    3 | d[i,j] = 3
      |   ^
  hint: declare it: dim i = …, or use it on an axis of a tensor""",
    "y = x[7]": """\
p.otus:3:5: index 7 is outside axis 0 of size 5
    3 | y = x[7]
      |     ^^^^""",
    "y[i] = A[i,7]": """\
p.otus:3:12: position 7 is outside axis 1 of A, which has size 3
    3 | y[i] = A[i,7]
      |            ^""",
    "y[i] = A[i,1:2]": """\
p.otus:3:12: '1:2' cannot stand beside indices
    3 | y[i] = A[i,1:2]
      |            ^^^
  hint: name every axis, or slice the tensor first: (x[1:3, :])[i,j]""",
    "y[i] = x[i*i]": """\
p.otus:3:10: 'i*i' multiplies indices
    3 | y[i] = x[i*i]
      |          ^^^
  hint: a subscript is a sum of indices times integers""",
    "y = A @ A": """\
p.otus:3:5: matmul: shapes (5, 3) and (5, 3) do not fit: the summed axes have sizes 3 and 5
    3 | y = A @ A
      |     ^^^^^""",
    "y[i] = A[i,j] @ x[j]": """\
p.otus:3:8: @ does not take indexed terms
    3 | y[i] = A[i,j] @ x[j]
      |        ^^^^^^^^^^^^^
  hint: use * and repeat the summed index""",
    "tensor H[3,3] : symetric": """\
p.otus:3:17: 'symetric' is neither a dtype nor a fact nor a format
    3 | tensor H[3,3] : symetric
      |                 ^^^^^^^^
  hint: did you mean 'symmetric'?""",
    "tensor H[3,3] : flaot32": """\
p.otus:3:17: 'flaot32' is neither a dtype nor a fact nor a format
    3 | tensor H[3,3] : flaot32
      |                 ^^^^^^^
  hint: did you mean 'float32'?""",
    "tensor C[n] : int64, D[n] : bool": """\
p.otus:3:27: ':' is out of place; expected the end of the line or ','
    3 | tensor C[n] : int64, D[n] : bool
      |                           ^
  hint: the facts end the statement and hold for all its tensors; declare others in their own statement""",
    "tensor C[n] : int64, D[n]": """\
p.otus:3:22: 'D[n]' is neither a dtype nor a fact nor a format
    3 | tensor C[n] : int64, D[n]
      |                      ^^^^
  hint: the facts end the statement and hold for all its tensors; declare others in their own statement""",
    "y = ones(0.5)": """\
p.otus:3:5: ones does not take these arguments: 'float' object is not iterable
    3 | y = ones(0.5)
      |     ^^^^^^^^^
  hint: ones(shape, dtype='float64')""",
    "tensor x[3]": """\
p.otus:3:8: 'x' already has a value, from line 2
    3 | tensor x[3]
      |        ^^^^
  hint: a name has one value; choose another name""",
    "const k = 10^10^10": """\
p.otus:3:11: 10 ^ 10000000000 does not fit in 64 bits
    3 | const k = 10^10^10
      |           ^^^^^^^^
  hint: write 10.0 ^ 10000000000""",
    "const h = 1 / 0": """\
p.otus:3:11: 1 / 0 divides by zero
    3 | const h = 1 / 0
      |           ^^^^^""",
    "output foo": """\
p.otus:3:8: unknown name 'foo'
    3 | output foo
      |        ^^^
  hint: known names are A, B, x, X, n, m""",
    "def f(v) = g(v)\ndef g(v) = f(v) + 1\ny = f(x)": """\
p.otus:4:12: function 'f' calls itself (f → g → f); recursion has no end here
    4 | def g(v) = f(v) + 1
      |            ^^^^""",
    "def f(u, v) = u + v\ny = f(x)": """\
p.otus:4:5: f takes 2 arguments, not 1
    4 | y = f(x)
      |     ^^^^
  hint: f(u, v)""",
    "y = max[j](x[i])": """\
p.otus:3:9: index 'j' does not occur inside max[j](…)
    3 | y = max[j](x[i])
      |         ^""",
    "y = summ[i](x[i])": """\
p.otus:3:5: 'summ' does not reduce over indices
    3 | y = summ[i](x[i])
      |     ^^^^
  hint: did you mean 'sum'?""",
    "y = grad(x, A)": """\
p.otus:3:5: grad needs a scalar, but the function has shape (5,)
    3 | y = grad(x, A)
      |     ^^^^^^^^^^
  hint: use jacobian or vjp, or reduce it with sum""",
    "y = x.summ()": """\
p.otus:3:5: a tensor has no method 'summ'
    3 | y = x.summ()
      |     ^^^^^^^^
  hint: did you mean 'sum'?""",
    "tensr C[n]": """\
p.otus:3:7: 'C' is out of place; expected ',', '=' or '['
    3 | tensr C[n]
      |       ^
  hint: did you mean 'tensor'?""",
    "y = (x + 1\nz = 2 * x": """\
p.otus:3:5: '(' is never closed
    3 | y = (x + 1
      |     ^""",
    "y = [x)": """\
p.otus:3:7: ')' does not close the '[' of line 3, column 5
    3 | y = [x)
      |       ^""",
    "y = 2 x": """\
p.otus:3:7: 'x' is out of place; expected the end of the line, '(', '[' or an operator
    3 | y = 2 x
      |       ^
  hint: write * between factors, and one statement a line""",
    "output = 3": """\
p.otus:3:8: '=' is out of place; expected a name
    3 | output = 3
      |        ^
  hint: 'output' is a keyword; choose another name""",
    "y = x & x": """\
p.otus:3:7: the character '&' means nothing here
    3 | y = x & x
      |       ^
  hint: multiply 0/1 brackets for 'and'""",
    "y = 1 < 2 < 3": """\
p.otus:3:11: '<' is out of place; expected the end of the line
    3 | y = 1 < 2 < 3
      |           ^
  hint: comparisons do not chain; write one comparison, and multiply brackets for 'and'""",
    'import "other.otus"': """\
p.otus:3:8: a text without a file has no folder to import from
    3 | import "other.otus"
      |        ^^^^^^^^^^^^
  hint: use otus.load(path)""",
    "\ty = \N{GREEK SMALL LETTER ALPHA} + x": """\
p.otus:3:6: unknown name '\N{GREEK SMALL LETTER ALPHA}'
    3 | \ty = \N{GREEK SMALL LETTER ALPHA} + x
      | \t    ^
  hint: known names are A, B, x, X, n, m""",
}


def failure(text: str) -> LanguageError:
    with pytest.raises(LanguageError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize("text", EXACT)
def test_exact_text(text: str) -> None:
    assert str(failure(HEADER + text)).replace("<text>", "p.otus") == EXACT[text]


def test_attributes_are_those_of_the_first_mistake() -> None:
    error = failure("tensor x[3]\ny = x[i]\nz = foo\n")
    assert isinstance(error, OtusError)
    assert (error.file, error.line, error.column) == ("<text>", 2, 5)
    assert error.hint is not None
    assert error.hint.startswith("to sum, write sum[i](...)")
    assert [x.span.line for x in error.diagnostics] == [2, 3]


def test_several_independent_mistakes_are_reported_together_in_order() -> None:
    error = failure(
        "tensor x[3], x[4]\ny = (x + \nz = fooo\nw = 2 x\nv = zeros(3\ntensor A[2,2] : nope\nu = A[i,i,i]\n"
    )
    assert [x.span.line for x in error.diagnostics] == [1, 2, 3, 4, 5, 6, 7]


def test_what_follows_from_a_mistake_is_not_reported() -> None:
    text = "tensor A[n,n\ntensor x[n]\ny[i] = A[i,j] * x[j]\nz = foo + 1\nw = z * 2\nv = w @ y\noutput v\n"
    error = failure(text)
    assert [x.message for x in error.diagnostics] == ["'[' is never closed", "unknown name 'foo'"]


def test_at_most_twenty_mistakes_are_listed() -> None:
    assert len(failure("\n".join(f"y{k} = foo{k}x" for k in range(50))).diagnostics) == 20


def test_a_long_line_is_shown_around_the_mistake() -> None:
    text = str(failure("y = " + "1 + " * 500 + "foo"))
    line, carets = text.split("\n")[1:3]
    assert len(line) < 180
    assert line[carets.index("^") : carets.rindex("^") + 1] == "foo"


HOSTILE = {
    "deep brackets": "y = " + "(" * 100_000 + "1" + ")" * 100_000,
    "deep signs": "y = " + "-" * 100_000 + "1",
    "deep powers": "y = " + "2^" * 50_000 + "1",
    "deep calls": "y = " + "exp(" * 59 + "1" * 500 + ")" * 59,
    "doubling functions": "tensor x[3]\ndef f0(v) = v + v\n"
    + "".join(f"def f{k}(v) = f{k - 1}(f{k - 1}(v))\n" for k in range(1, 40))
    + "y = f39(x)",
    "deep functions": "tensor x[3]\ndef f0(v) = v\n"
    + "".join(f"def f{k}(v) = f{k - 1}(v) + 1\n" for k in range(1, 3000))
    + "y = f2999(x)",
    "large integers": "const a = 9 ^ 9 ^ 9 ^ 9",
    "large products": "const a = 2 ^ 62\nconst b = a * a * a",
    "large floats": "const a = 1e308 ^ 2",
    "large size": "tensor x[" + "*".join("(a+b+c+d+e+f+g+h)" for _ in range(50)) + "]",
    "large range": "y = arange(0.0, 1.0, 1e-15)",
    "large order": "tensor x[3]\ny = derivative(sum(x), x, order=10^9)",
    "large coefficient": "tensor x[3]\ny[i] = x[" + "2*" * 70 + "i]",
    "iterating a tensor": "tensor x[10^12]\ny = concatenate(x)",
    "transposing by a tensor": "tensor x[10^12]\ny = transpose(x, x)",
    "size in a text": "y = zeros('2**10000000000')",
    "large text": "y = 1\n" * 200_000,
    "control characters": "y = \x00\x01\x02",
    "open brackets on every line": "y = (\n" * 20_000,
    "imaginary": "const a = (-1) ^ 0.5",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_refused_quickly(name: str) -> None:
    assert failure(HOSTILE[name]).line >= 1


HARMLESS = {
    "long sum": "tensor x[3]\ny = " + " + ".join(["x"] * 5_000),
    "long indexed sum": "tensor x[3]\ny = " + " + ".join(["x[i] * x[i]"] * 2_000),
    "long product": "tensor x[3]\ny[i] = " + " * ".join(["x[i]"] * 2_000),
    "long chain": "tensor x[3]\ny0 = x\n" + "".join(f"y{k} = y{k - 1} + 1\n" for k in range(1, 3000)),
    "huge sizes": "tensor x[10^12, 10^12]\ny = sum(x * zeros((10^12, 10^12))) + trace(eye(10^12))",
    "deep brackets": "y = " + "(" * 50 + "1" + ")" * 50,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_large_texts_are_read(name: str) -> None:
    module = parse(HARMLESS[name])
    assert module.outputs
