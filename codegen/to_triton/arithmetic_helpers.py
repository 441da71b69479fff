"""Powers and remainders, in Triton; the source of those that a module's kernels use is copied into it.

Powers are 2 to the exponent times the base's binary logarithm, which is kept in two numbers as in FreeBSD's e_pow.c
(Sun Microsystems, 1993).  Products that must be exact are of factors with half of the digits, so that it does not
matter whether a compiler fuses them with the sums that they are in: an error-free product by any other way would need a
fused one, which Triton's interpreter has not, or one that is surely not.
"""

# This module is text to the emitter, which never imports it: importing it needs Triton.
import triton
import triton.language as tl


@triton.jit
def _bits(x):
    """The bits of a floating-point number as an integer."""
    return x.to(tl.int64 if x.dtype == tl.float64 else tl.int32, bitcast=True)


@triton.jit
def _upper(x):
    """x without the lower half of its digits: products of two such are exact."""
    lower: tl.constexpr = 27 if x.dtype == tl.float64 else 12
    return ((_bits(x) >> lower) << lower).to(x.dtype, bitcast=True)


@triton.jit
def _two_to(n, x):
    """2**n in the dtype of x, for whole n; it must be in the range of normal numbers."""
    bits = ((n.to(tl.int64) + 1023) << 52) if x.dtype == tl.float64 else ((n.to(tl.int32) + 127) << 23)
    return bits.to(x.dtype, bitcast=True)


@triton.jit
def _scaled(x, n):
    """x * 2**n, rounded once; 2**n itself may be out of range."""
    half = n >> 1
    return x * _two_to(half, x) * _two_to(n - half, x)


@triton.jit
def _normalised(x):
    """m and e with x = m * 2**e and 1 <= m < 2, of a positive finite x; those below the normal ones included."""
    if x.dtype == tl.float64:
        low = x < 2.2250738585072014e-308
        bits = _bits(tl.where(low, x * 18014398509481984.0, x))
        e = ((bits >> 52) - tl.where(low, 1023 + 54, 1023)).to(tl.int32)
        bits = (bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000
    else:
        low = x < 1.1754943508222875e-38
        bits = _bits(tl.where(low, x * 16777216.0, x))
        e = (bits >> 23) - tl.where(low, 127 + 24, 127)
        bits = (bits & 0x7FFFFF) | 0x3F800000
    return bits.to(x.dtype, bitcast=True), e


@triton.jit
def _log2_in_two(x):
    """The binary logarithm of a positive finite x as a sum, of which the first number has half of the digits.

    With s = (m - 1) / (m + 1), log(m) is 2 artanh(s) = 2/3 s (3 + s**2 + 3/5 s**4 + ...).
    """
    m, e = _normalised(x)
    above = m > 1.4142135623730951
    m = tl.where(above, m * 0.5, m)
    n = tl.where(above, e + 1, e).to(x.dtype)
    f = m - 1.0
    d = m + 1.0
    s = f / d
    s_high = _upper(s)
    d_high = _upper(d)
    s_low = ((f - s_high * d_high) - s_high * (m - (d_high - 1.0))) / d
    z = s * s
    if x.dtype == tl.float64:
        t = z * (3 / 27) + (3 / 25)
        t = t * z + (3 / 23)
        t = t * z + (3 / 21)
        t = t * z + (3 / 19)
        t = t * z + (3 / 17)
        t = t * z + (3 / 15)
        t = t * z + (3 / 13)
    else:
        t = z * (3 / 15) + (3 / 13)
    t = t * z + (3 / 11)
    t = t * z + (3 / 9)
    t = t * z + (3 / 7)
    t = t * z + (3 / 5)
    rest = t * z * z + s_low * (s_high + s)
    square = s_high * s_high
    t_high = _upper(square + 3.0 + rest)
    t_low = rest - ((t_high - 3.0) - square)
    first = s_high * t_high
    second = s_low * t_high + t_low * s
    p_high = _upper(first + second)
    p_low = second - (p_high - first)
    # 2 / (3 log 2), of which what p_high is multiplied by first has half of the digits.
    if x.dtype == tl.float64:
        first = p_high * 0.9617966860532761
        second = p_high * 7.872699542894897e-09 + p_low * 0.9617966939259756
    else:
        first = p_high * 0.961669921875
        second = p_high * 1.267720509756049e-04 + p_low * 0.9617966939259756
    high = _upper((first + second) + n)
    return high, second - ((high - n) - first)


@triton.jit
def _exp2_of_two(high, low):
    """2 to the sum of two numbers, of which the first decides whether it is out of range."""
    most: tl.constexpr = 2000.0 if high.dtype == tl.float64 else 250.0
    low = tl.where(tl.abs(high) < most, low, 0.0)
    high = tl.minimum(tl.maximum(high, -most), most)
    n = tl.floor(high + 0.5)
    h = high - n
    t = h + low
    t_high = _upper(t)
    t_low = (t - t_high) + (low - (t - h))
    # Times log 2, whose first part has few digits.
    first = t_high * 0.693115234375
    second = t_low * 0.6931471805599453 + t_high * 3.1946184945309415e-05
    z = first + second
    w = second - (z - first)
    if high.dtype == tl.float64:
        q = z * (1 / 6227020800) + (1 / 479001600)
        q = q * z + (1 / 39916800)
        q = q * z + (1 / 3628800)
        q = q * z + (1 / 362880)
        q = q * z + (1 / 40320)
    else:
        q = z * (1 / 362880) + (1 / 40320)
    q = q * z + (1 / 5040)
    q = q * z + (1 / 720)
    q = q * z + (1 / 120)
    q = q * z + (1 / 24)
    q = q * z + (1 / 6)
    q = q * z + 0.5
    value = (z + (q * z * z + (w + w * z))) + 1.0
    return _scaled(value, n.to(tl.int32))


@triton.jit
def _pow(x, y):
    """x to the power y, with C's special values, which are NumPy's."""
    x, y = tl.broadcast(x, y)
    a = tl.abs(x)
    ordinary = (a > 0) & (a < float("inf")) & (tl.abs(y) < float("inf"))
    high, low = _log2_in_two(tl.where(ordinary, a, 1.0))
    # Exponents beyond 2**65 make anything but 1 too large or too small.
    t = tl.minimum(tl.maximum(tl.where(ordinary, y, 0.0), -36893488147419103232.0), 36893488147419103232.0)
    t_high = _upper(t)
    size = _exp2_of_two(t_high * high, (t - t_high) * high + t * low)
    limit = tl.where((a > 1) == (y > 0), float("inf"), 0.0)
    size = tl.where(ordinary, size, tl.where(a == 1, 1.0, limit))
    whole = tl.floor(y) == y
    odd = whole & (tl.floor(y * 0.5) != y * 0.5)
    # Times -1, since Triton takes a negative from 0, which loses the sign of a zero.
    value = tl.where(odd & (_bits(x) < 0), size * -1.0, size)
    value = tl.where((x < 0) & (a < float("inf")) & ~whole, float("nan"), value)
    value = tl.where((x != x) | (y != y), x + y, value)
    return tl.where((x == 1) | (y == 0), 1.0, value)


@triton.jit
def _whole_pow(x, n):
    """An integer to the power n, by squaring; it wraps.  Negative powers of other numbers than 1 and -1 are 0."""
    x, n = tl.broadcast(x, n)
    total = x * 0 + 1
    base = x
    left = tl.maximum(n, 0)
    while tl.max(left) > 0:
        total = tl.where((left & 1) != 0, total * base, total)
        base = base * base
        left = left >> 1
    if x.dtype.is_int_signed():
        inverse = tl.where(x == 1, 1, tl.where(x == -1, 1 - (n & 1) * 2, x * 0))
        total = tl.where(n < 0, inverse, total)
    return total


@triton.jit
def _mod(x, y):
    """The remainder with the sign of y, exactly as NumPy's: by long division of the digits, some of them at a time."""
    x, y = tl.broadcast(x, y)
    a = tl.abs(x)
    b = tl.abs(y)
    divides = (a > 0) & (a < float("inf")) & (b > 0) & (b < float("inf"))
    r, e = _normalised(tl.where(divides, a, 1.0))
    m, e_b = _normalised(tl.where(divides, b, 2.0))
    # So many digits that a quotient's product with half of those of m is exact.
    digits: tl.constexpr = 24 if x.dtype == tl.float64 else 10
    m_high = _upper(m)
    left = e - e_b
    near = left < 0
    for _ in range(tl.max(left) // digits + 1):
        step = tl.minimum(tl.maximum(left, 0), digits)
        r = r * _two_to(step, x)
        quotient = r / m if x.dtype == tl.float64 else tl.div_rn(r, m)
        below = tl.floor(quotient)
        q = tl.where(quotient - below < 0.5, below, below + 1.0)
        # At most half of m in size, so that all of its digits are there.
        r = tl.where(near, r, (r - q * m_high) - q * (m - m_high))
        left = left - digits
    r = tl.where(near, a, _scaled(r, e_b))
    r = tl.where(divides, r, a)
    r = tl.where(x < 0, -r, r)
    r = tl.where((r == 0) | ((r < 0) == (y < 0)), r, r + y)
    # What is 0 has the sign of y too.
    r = tl.where(_bits(y) < 0, tl.abs(r) * -1.0, tl.abs(r))
    return tl.where((a < float("inf")) & (b > 0), r, float("nan"))


@triton.jit
def _whole_mod(x, y):
    """The remainder of integers with the sign of y; 0 where y is 0, as NumPy's."""
    if x.dtype.is_int_signed():
        r = x % tl.where((y == 0) | (y == -1), 1, y)  # Triton's, which has the sign of x
        r = tl.where((r != 0) & ((r < 0) != (y < 0)), r + y, r)
    else:
        r = tl.where(y == 0, 0, x % tl.where(y == 0, 1, y))
    return r
