"""The functions of numpy that views use, over columns and numbers."""

import math
import operator
import sys

from galley_frame import (
    BOOL, FLOAT, NAN, NUMERIC, Series, is_null, round_like_numpy, text_type, unsupported,
)


def _elementwise(operation):
    def apply(value):
        if isinstance(value, Series):
            if value._kind not in NUMERIC:
                raise TypeError(f"loop of ufunc does not support a column of {value._kind}")
            return Series._of([operation(each) for each in value._values], FLOAT)
        if isinstance(value, (list, tuple)):
            return Series([operation(each) for each in value])
        return operation(value)

    return apply


def _guarded(function, below):
    """numpy's answers where Python's functions raise."""

    def operation(value):
        if value is None or value != value:
            return NAN
        try:
            return float(function(value))
        except (ValueError, OverflowError):
            return below(value)

    return operation


def _log_below(value):
    return -math.inf if value == 0 else NAN


def _log1p_below(value):
    return -math.inf if value == -1 else NAN


def _np_abs(value):
    return value.abs() if isinstance(value, Series) else abs(value)


def _np_where(condition, yes, no):
    if not isinstance(condition, Series):
        if isinstance(yes, Series) or isinstance(no, Series):
            unsupported("np.where with a plain condition")
        return yes if condition else no
    ones, left = condition._pair(yes)
    others, right = condition._pair(no)
    values = [
        one if truth else other for truth, one, other in zip(condition._values, ones, others)
    ]
    kinds = (left, right)
    is_float = FLOAT in kinds and all(kind in NUMERIC for kind in kinds)
    if is_float:
        return Series._of([float(value) for value in values], FLOAT)
    if left in NUMERIC and right not in NUMERIC and text_type(others):
        unsupported("np.where that mixes numbers and text")
    return Series._of(values)


def _np_select(condlist, choicelist, default=0):
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    answer = default
    for condition, choice in reversed(list(zip(condlist, choicelist))):
        answer = _np_where(condition, choice, answer)
    return answer


def _np_logical(symbol):
    def apply(left, right):
        if not isinstance(left, Series):
            left, right = right, left
        if not isinstance(left, Series):
            return bool(left and right) if symbol == "&" else bool(left or right)
        return left & right if symbol == "&" else left | right

    return apply


def _sign(value):
    if is_null(value):
        return NAN
    return (value > 0) - (value < 0)


def _np_sign(value):
    if not isinstance(value, Series):
        return float(_sign(value)) if isinstance(value, float) else _sign(value)
    return Series._of([_sign(each) for each in value._values], FLOAT if value._kind == FLOAT else None)


def _np_finite(test):
    def apply(value):
        if not isinstance(value, Series):
            return test(value)
        return Series._of([test(each) for each in value._values], BOOL)

    return apply


def _of_two(operation):
    """A function of two numbers, over columns and numbers; what is missing makes NaN."""

    def number(left, right):
        return NAN if is_null(left) or is_null(right) else operation(left, right)

    def apply(left, right):
        if isinstance(left, Series):
            pairs = zip(left._values, left._pair(right)[0])
        elif isinstance(right, Series):
            pairs = zip(right._pair(left)[0], right._values)
        else:
            return number(left, right)
        answer = [number(one, two) for one, two in pairs]
        is_float = any(isinstance(value, float) for value in answer)
        return Series._of(answer, FLOAT if is_float else None)

    return apply


def _nan_to_num(value, copy=True, nan=0.0, posinf=None, neginf=None):
    high = sys.float_info.max if posinf is None else posinf
    low = -sys.float_info.max if neginf is None else neginf

    def number(each):
        if is_null(each):
            return nan
        return high if each == math.inf else low if each == -math.inf else each

    if not isinstance(value, Series):
        return number(value)
    if value._kind not in NUMERIC:
        return value.copy()
    return Series._of([number(each) for each in value._values], value._kind)


def _np_isnan(value):
    return value.isna() if isinstance(value, Series) else value != value


def _np_clip(value, low, high):
    return value.clip(low, high) if isinstance(value, Series) else min(max(value, low), high)


def _np_round(value, decimals=0):
    return value.round(decimals) if isinstance(value, Series) else round_like_numpy(value, decimals)


NUMPY = {
    "where": _np_where,
    "abs": _np_abs,
    "absolute": _np_abs,
    "log": _elementwise(_guarded(math.log, _log_below)),
    "log2": _elementwise(_guarded(math.log2, _log_below)),
    "log10": _elementwise(_guarded(math.log10, _log_below)),
    "log1p": _elementwise(_guarded(math.log1p, _log1p_below)),
    "exp": _elementwise(_guarded(math.exp, lambda value: math.inf)),
    "expm1": _elementwise(_guarded(math.expm1, lambda value: math.inf)),
    "sqrt": _elementwise(_guarded(math.sqrt, lambda value: NAN)),
    "sin": _elementwise(_guarded(math.sin, lambda value: NAN)),
    "cos": _elementwise(_guarded(math.cos, lambda value: NAN)),
    "tan": _elementwise(_guarded(math.tan, lambda value: NAN)),
    "arcsin": _elementwise(_guarded(math.asin, lambda value: NAN)),
    "arccos": _elementwise(_guarded(math.acos, lambda value: NAN)),
    "arctan": _elementwise(_guarded(math.atan, lambda value: NAN)),
    "sinh": _elementwise(_guarded(math.sinh, lambda value: math.copysign(math.inf, value))),
    "cosh": _elementwise(_guarded(math.cosh, lambda value: math.inf)),
    "tanh": _elementwise(_guarded(math.tanh, lambda value: NAN)),
    "radians": _elementwise(_guarded(math.radians, lambda value: NAN)),
    "deg2rad": _elementwise(_guarded(math.radians, lambda value: NAN)),
    "degrees": _elementwise(_guarded(math.degrees, lambda value: NAN)),
    "rad2deg": _elementwise(_guarded(math.degrees, lambda value: NAN)),
    # Looked up when they are called: Python 3.10, which may read this file to see what is there, has
    # neither.
    "cbrt": _elementwise(_guarded(lambda value: math.cbrt(value), lambda value: NAN)),
    "exp2": _elementwise(_guarded(lambda value: math.exp2(value), lambda value: math.inf)),
    "trunc": _elementwise(_guarded(math.trunc, lambda value: value)),
    "arctan2": _of_two(math.atan2),
    "hypot": _of_two(math.hypot),
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "mod": operator.mod,
    "remainder": operator.mod,
    "negative": operator.neg,
    "nan_to_num": _nan_to_num,
    "floor": _elementwise(_guarded(math.floor, lambda value: value)),
    "ceil": _elementwise(_guarded(math.ceil, lambda value: value)),
    "minimum": _of_two(min),
    "maximum": _of_two(max),
    "isnan": _np_isnan,
    "isinf": _np_finite(lambda value: value in (math.inf, -math.inf)),
    "isfinite": _np_finite(lambda value: not is_null(value) and not math.isinf(value)),
    "select": _np_select,
    "sign": _np_sign,
    "square": lambda value: value * value,
    "power": operator.pow,
    "logical_and": _np_logical("&"),
    "logical_or": _np_logical("|"),
    "logical_not": lambda value: ~value if isinstance(value, Series) else not value,
    "clip": _np_clip,
    "round": _np_round,
    "nan": NAN,
    "inf": math.inf,
    "pi": math.pi,
    "e": math.e,
    "float32": "float32",
    "float64": "float64",
    "int32": "int32",
    "int64": "int64",
    "bool_": "bool",
}
