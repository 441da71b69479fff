"""Functions that Triton lacks, in Triton; the source of those that a module's kernels use is copied into it.

CUDA's own are no help: Triton's interpreter cannot call them, and the kernels that it runs are to be the ones
that a GPU runs.  The error function's complement is W. J. Cody's (Math. Comp. 23 (1969), 631-637; coefficients as in
his CALERF), the arc tangent that of S. L. Moshier's Cephes library.  Each is good to a few units in the last place,
in float32 and float64.

What a choice by a dtype leaves out stands in an ``else``: newer versions of Triton compile what comes after a return.
"""

# This module is text to the emitter, which never imports it: importing it needs Triton.
import triton
import triton.language as tl


@triton.jit
def _largest(x, y):
    """The larger one; NaN where either is."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _smallest(x, y):
    """The smaller one; NaN where either is."""
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _product(x, y):
    """Both multiplied."""
    return x * y


@triton.jit
def _expm1(x):
    """exp(x) - 1: Taylor's series near 0, where the difference would cancel."""
    near = tl.abs(x) < 0.5
    s = tl.where(near, x, 0.0)
    t = s * (1 / 17) + 1.0
    t = t * s * (1 / 16) + 1.0
    t = t * s * (1 / 15) + 1.0
    t = t * s * (1 / 14) + 1.0
    t = t * s * (1 / 13) + 1.0
    t = t * s * (1 / 12) + 1.0
    t = t * s * (1 / 11) + 1.0
    t = t * s * (1 / 10) + 1.0
    t = t * s * (1 / 9) + 1.0
    t = t * s * (1 / 8) + 1.0
    t = t * s * (1 / 7) + 1.0
    t = t * s * (1 / 6) + 1.0
    t = t * s * (1 / 5) + 1.0
    t = t * s * (1 / 4) + 1.0
    t = t * s * (1 / 3) + 1.0
    t = t * s * (1 / 2) + 1.0
    return tl.where(near, t * s, tl.exp(x) - 1.0)


@triton.jit
def _log1p(x):
    """log(1 + x): near 0 as 2 artanh(x / (2 + x)), by its series."""
    near = tl.abs(x) < 0.4
    y = tl.where(near, x, 0.0)
    s = y / (y + 2.0)
    q = s * s
    t = q * (1 / 27) + (1 / 25)
    t = t * q + (1 / 23)
    t = t * q + (1 / 21)
    t = t * q + (1 / 19)
    t = t * q + (1 / 17)
    t = t * q + (1 / 15)
    t = t * q + (1 / 13)
    t = t * q + (1 / 11)
    t = t * q + (1 / 9)
    t = t * q + (1 / 7)
    t = t * q + (1 / 5)
    t = t * q + (1 / 3)
    t = t * q + 1.0
    return tl.where(near, 2.0 * s * t, tl.log(x + 1.0))


@triton.jit
def _tanh(x):
    """tanh, without cancellation near 0 and without overflow."""
    t = _expm1(-2.0 * tl.abs(x))
    y = -t / (t + 2.0)
    return tl.where(x < 0, -y, y)


@triton.jit
def _sinh(x):
    """sinh; exp is taken of half the argument where the whole might overflow."""
    y = tl.abs(x)
    t = _expm1(y)
    half = tl.exp(y * 0.5)
    z = tl.where(y > 20, half * 0.5 * half, 0.5 * (t + t / (t + 1.0)))
    return tl.where(x < 0, -z, z)


@triton.jit
def _cosh(x):
    """cosh; exp is taken of half the argument where the whole might overflow."""
    y = tl.abs(x)
    t = tl.exp(y)
    half = tl.exp(y * 0.5)
    return tl.where(y > 20, half * 0.5 * half, 0.5 * t + 0.5 / t)


@triton.jit
def _sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (small + 1.0)


@triton.jit
def _softplus(x):
    """log(1 + exp(x)), without overflow."""
    return tl.where(x > 0, x, 0.0) + _log1p(tl.exp(-tl.abs(x)))


@triton.jit
def _logaddexp(x, y):
    """log(exp(x) + exp(y)), without overflow; infinities that are equal are their own sum."""
    distance = tl.abs(x - y)
    larger = tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(x == y, x + 0.6931471805599453, larger + _log1p(tl.exp(-distance)))


@triton.jit
def _erfc(x):
    """1 - erf(x), accurate where erf(x) is nearly 1."""
    y = tl.minimum(tl.abs(x), 30.0)
    a = tl.minimum(y, 0.46875)
    q = a * a
    above = q * 1.85777706184603153e-1 + 3.16112374387056560e0
    above = above * q + 1.13864154151050156e2
    above = above * q + 3.77485237685302021e2
    above = above * q + 3.20937758913846947e3
    below = q + 2.36012909523441209e1
    below = below * q + 2.44024637934444173e2
    below = below * q + 1.28261652607737228e3
    below = below * q + 2.84423683343917062e3
    near = a * above / below
    b = tl.minimum(y, 4.0)
    above = b * 2.15311535474403846e-8 + 5.64188496988670089e-1
    above = above * b + 8.88314979438837594e0
    above = above * b + 6.61191906371416295e1
    above = above * b + 2.98635138197400131e2
    above = above * b + 8.81952221241769090e2
    above = above * b + 1.71204761263407058e3
    above = above * b + 2.05107837782607147e3
    above = above * b + 1.23033935479799725e3
    below = b + 1.57449261107098347e1
    below = below * b + 1.17693950891312499e2
    below = below * b + 5.37181101862009858e2
    below = below * b + 1.62138957456669019e3
    below = below * b + 3.29079923573345963e3
    below = below * b + 4.36261909014324716e3
    below = below * b + 3.43936767414372164e3
    below = below * b + 1.23033935480374942e3
    middle = above / below
    c = tl.maximum(y, 4.0)
    q = 1.0 / (c * c)
    above = q * 1.63153871373020978e-2 + 3.05326634961232344e-1
    above = above * q + 3.60344899949804439e-1
    above = above * q + 1.25781726111229246e-1
    above = above * q + 1.60837851487422766e-2
    above = above * q + 6.58749161529837803e-4
    below = q + 2.56852019228982242e0
    below = below * q + 1.87295284992346725e0
    below = below * q + 5.27905102951428412e-1
    below = below * q + 6.05183413124413191e-2
    below = below * q + 2.33520497626869185e-3
    tail = (5.6418958354775628695e-1 - q * above / below) / c
    head = tl.floor(y * 16.0) * 0.0625
    far = tl.exp(-head * head) * tl.exp((head - y) * (head + y)) * tl.where(y > 4, tail, middle)
    positive = tl.where(y <= 0.46875, 1.0 - near, far)
    negative = tl.where(y <= 0.46875, 1.0 + near, 2.0 - far)
    return tl.where(x != x, x, tl.where(x < 0, negative, positive))


@triton.jit
def _finite(x):
    """x where that is finite, else 0."""
    return tl.where(tl.abs(x) < float("inf"), x, 0.0)


@triton.jit
def _rescaling(old, new):
    """What terms relative to the maximum ``old`` are multiplied by to be relative to ``new``; of none, 0."""
    return tl.where(old == float("-inf"), 0.0, tl.exp(_finite(old) - _finite(new)))


@triton.jit
def _deviation(x, total, count):
    """What x, the last of ``count`` numbers with this total, adds to the squares of their distances from their mean."""
    distance = x - total / tl.maximum(count, 1.0)
    return distance * distance * (count / tl.maximum(count - 1.0, 1.0))


@triton.jit
def _about(squares, count, total, mean):
    """The squares of the distances of ``count`` numbers from ``mean``; ``squares`` are those from their own mean."""
    distance = total / tl.maximum(count, 1.0) - mean
    return tl.where(count > 0, squares + count * distance * distance, 0.0)


@triton.jit
def _codeviation(x, total, weight, weights, count):
    """What the last of ``count`` pairs with these totals adds to the products of their distances from their means."""
    count = tl.maximum(count, 1.0)
    return (x - total / count) * (weight - weights / count) * (count / tl.maximum(count - 1.0, 1.0))


@triton.jit
def _weighted_about(products, weights, count, total, mean):
    """The weighted distances of ``count`` numbers from ``mean``; ``products`` are those of the distances of both."""
    distance = total / tl.maximum(count, 1.0) - mean
    return tl.where(count > 0, products + weights * distance, 0.0)


@triton.jit
def _arctan(x):
    """The angle whose tangent is x: by a rational function, around 0, 1 and infinity."""
    y = tl.abs(x)
    far = y > 2.414213562373095
    middle = (y > 0.66) & (y <= 2.414213562373095)
    r = tl.where(far, -1.0 / tl.where(far, y, 1.0), tl.where(middle, (y - 1.0) / (y + 1.0), y))
    z = r * r
    above = z * -8.750608600031904122785e-1 - 1.615753718733365076637e1
    above = above * z - 7.500855792314704667340e1
    above = above * z - 1.228866684490136173410e2
    above = above * z - 6.485021904942025371773e1
    below = z + 2.485846490142306297962e1
    below = below * z + 1.650270098316988542046e2
    below = below * z + 4.328810604912902668951e2
    below = below * z + 4.853903996359136964868e2
    below = below * z + 1.945506571482613964425e2
    t = r * (z * above / below) + r
    # The angle that was taken away, to more digits than one number has.
    t = t + tl.where(far, 6.123233995736765886e-17, tl.where(middle, 3.061616997868383e-17, r * 0.0))
    t = t + tl.where(far, 1.5707963267948966, tl.where(middle, 0.7853981633974483, r * 0.0))
    return tl.where(x < 0, -t, t)


@triton.jit
def _arctan2(y, x):
    """The angle of the point (x, y); infinities count as directions."""
    a = tl.abs(y)
    b = tl.abs(x)
    infinite = (a == float("inf")) & (b == float("inf"))
    flat = (a == 0) & (b == 0)
    t = _arctan(tl.where(infinite, 1.0, tl.where(flat, a, a / b)))
    # The sign of a zero decides, which only its reciprocal shows.
    left = (x < 0) | ((x == 0) & (1.0 / x < 0))
    down = (y < 0) | ((y == 0) & (1.0 / y < 0))
    t = tl.where(left, 3.141592653589793 - t, t)
    return tl.where((x != x) | (y != y), x + y, tl.where(down, -t, t))


@triton.jit
def _arcsin(x):
    """The angle whose sine is x; near 1 the square root has all digits."""
    return _arctan2(x, tl.sqrt((1.0 - x) * (1.0 + x)))


@triton.jit
def _arccos(x):
    """The angle whose cosine is x."""
    return _arctan2(tl.sqrt((1.0 - x) * (1.0 + x)), x)


@triton.jit
def _of_e4m3(x):
    """Numbers of float8_e4m3, or their bytes, as float16.

    The bits of both formats are alike but for the exponent's offset, a factor of 256; all ones are no number.
    """
    if x.dtype == tl.uint8:
        bits = x.to(tl.int16)
        size = (bits & 127) << 7
        half = (size | ((bits & 128) << 8)).to(tl.float16, bitcast=True) * 256.0
        return tl.where(size == 16256, float("nan"), half).to(tl.float16)
    else:
        return x.to(tl.float16)


@triton.jit
def _of_e5m2(x):
    """Numbers of float8_e5m2, or their bytes, as float16, whose first byte they are."""
    if x.dtype == tl.uint8:
        return (x.to(tl.int16) << 8).to(tl.float16, bitcast=True)
    else:
        return x.to(tl.float16)


@triton.jit
def _to_e4m3(x):
    """The bytes of the nearest numbers of float8_e4m3, to even where two are as near; the largest where x is larger.

    Half a unit is added to the bits of float32, so that the last digit is even; numbers too small for an exponent are
    shifted by one that is so large that the last digit is that of the smallest.
    """
    whole = x.to(tl.float32)
    size = tl.abs(whole)
    bits = size.to(tl.int32, bitcast=True)
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - 960
    small = (size + 16384.0).to(tl.int32, bitcast=True) - 0x46800000
    found = tl.minimum(tl.where(size < 0.015625, small, normal), 126)
    found = tl.where(size == size, found, 127)
    return (found | ((whole.to(tl.int32, bitcast=True) >> 24) & 128)).to(tl.uint8)


@triton.jit
def _to_e5m2(x):
    """The bytes of the nearest numbers of float8_e5m2, as for float8_e4m3; infinity where x is larger."""
    whole = x.to(tl.float32)
    size = tl.abs(whole)
    bits = size.to(tl.int32, bitcast=True)
    normal = ((bits + 0xFFFFF + ((bits >> 21) & 1)) >> 21) - 448
    small = (size + 128.0).to(tl.int32, bitcast=True) - 0x43000000
    found = tl.minimum(tl.where(size < 0.00006103515625, small, normal), 124)
    found = tl.where(size == size, found, 127)
    return (found | ((whole.to(tl.int32, bitcast=True) >> 24) & 128)).to(tl.uint8)


@triton.jit
def _as_e4m3(x, pointer):
    """The nearest numbers of float8_e4m3 as the tensor at a pointer has them: as such, or their bytes."""
    if pointer.dtype.element_ty == tl.uint8:
        return _to_e4m3(x)
    else:
        return x.to(tl.float32).to(tl.float8e4nv)


@triton.jit
def _as_e5m2(x, pointer):
    """The nearest numbers of float8_e5m2 likewise; the GPU's own conversion knows no infinity."""
    if pointer.dtype.element_ty == tl.uint8:
        return _to_e5m2(x)
    else:
        whole = x.to(tl.float32)
        bits = whole.to(tl.float8e5).to(tl.uint8, bitcast=True).to(tl.int32)
        bits = tl.where(tl.abs(whole) >= 61440.0, (bits & 128) | 124, bits)
        return bits.to(tl.uint8).to(tl.float8e5, bitcast=True)
