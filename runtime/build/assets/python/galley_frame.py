"""The part of pandas and numpy that on-demand feature views are mostly made of, over lists.

A `Series` holds a list and the kind of its values, and treats nulls as pandas does: NaN among
numbers (integers with nulls are floats), None among objects, None (NaT) among instants. Whatever
is not here raises `Unsupported` with its name.
"""

import math
import operator
import struct
import sys
import types as _types

NAN = float("nan")
FLOAT, INT, BOOL, OBJECT, INSTANT = "float64", "int64", "bool", "object", "datetime64[ns, UTC]"
NUMERIC = (FLOAT, INT, BOOL)


class Unsupported(NotImplementedError, AttributeError):
    """The column shim has no such thing."""


def unsupported(what):
    raise Unsupported(f"{what} is not in the column shim of Galley")


def is_null(value):
    return value is None or value != value


def kind_of(values):
    """The kind that pandas would infer for a list."""
    present = [value for value in values if not is_null(value)]
    has_nulls = len(present) < len(values)
    if not present:
        return FLOAT if values and not all(value is None for value in values) else OBJECT
    if all(isinstance(value, bool) for value in present):
        return OBJECT if has_nulls else BOOL
    if any(isinstance(value, bool) for value in present):
        return OBJECT
    if all(isinstance(value, int) for value in present):
        return FLOAT if has_nulls else INT
    if all(isinstance(value, (int, float)) for value in present):
        return FLOAT
    return OBJECT


def coerced(values, kind):
    if kind == FLOAT:
        return [NAN if value is None else float(value) for value in values]
    return values


# --- arithmetic as numpy does it: division by zero is not an error ---


def divide(left, right):
    try:
        return left / right
    except ZeroDivisionError:
        if left == 0 or left != left:
            return NAN
        return math.copysign(math.inf, left) * math.copysign(1.0, right)


def floor_divide(left, right):
    try:
        return left // right
    except ZeroDivisionError:
        return divide(left, right)


def modulo(left, right):
    try:
        return left % right
    except ZeroDivisionError:
        return NAN


def power(left, right):
    if isinstance(left, int) and isinstance(right, int) and right < 0:
        raise ValueError("Integers to negative integer powers are not allowed.")
    try:
        answer = left**right
    except ZeroDivisionError:
        return math.inf
    except OverflowError:
        return math.inf
    return NAN if isinstance(answer, complex) else answer


def text_type(values):
    return any(isinstance(value, str) for value in values)


class Series:
    def __init__(self, data=None, index=None, dtype=None, name=None):
        if index is not None:
            unsupported("Series(index=..)")
        values = list(data) if data is not None else []
        self._values = values
        self._kind = kind_of(values)
        self._values = coerced(values, self._kind)
        self.name = name
        if dtype is not None:
            cast = self.astype(dtype)
            self._values, self._kind = cast._values, cast._kind

    @classmethod
    def _of(cls, values, kind=None):
        series = cls.__new__(cls)
        series._kind = kind_of(values) if kind is None else kind
        series._values = coerced(values, series._kind)
        series.name = None
        return series

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        unsupported(f"Series.{name}")

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return iter(self._values)

    def __bool__(self):
        raise ValueError(
            "The truth value of a Series is ambiguous. "
            "Use a.empty, a.bool(), a.item(), a.any() or a.all()."
        )

    def __getitem__(self, index):
        # Rows are numbered from 0; there are no others to ask for.
        if isinstance(index, bool) or not isinstance(index, int):
            unsupported("picking rows of a Series")
        if not 0 <= index < len(self._values):
            raise KeyError(index)
        return self._values[index]

    def __setitem__(self, index, value):
        if not isinstance(index, Series):
            unsupported("setting single rows of a Series")
        if index._kind != BOOL:
            unsupported("setting rows of a Series by anything but truths")
        changed = self._choose(index, value, keep=False)
        self._values, self._kind = changed._values, changed._kind

    def __repr__(self):
        return f"Series({self._values!r}, dtype={self._kind})"

    @property
    def dtype(self):
        return self._kind

    @property
    def empty(self):
        return not self._values

    def _pair(self, other):
        """The other side of an operation, as long as this one, and its kind."""
        if isinstance(other, Series):
            if len(other) != len(self):
                unsupported("an operation on columns of different lengths")
            return other._values, other._kind
        if isinstance(other, (list, tuple)):
            if len(other) != len(self):
                raise ValueError("operands could not be broadcast together")
            return list(other), kind_of(list(other))
        kind = FLOAT if isinstance(other, float) else kind_of([other])
        return [other] * len(self), kind

    def _arithmetic(self, other, operation, symbol, swap=False):
        if type(other).__name__ == "DataFrame":
            return NotImplemented
        right, kind = self._pair(other)
        left = self._values
        if swap:
            left, right = right, left
        numeric = self._kind in NUMERIC and kind in NUMERIC
        if self._kind == BOOL and kind == BOOL and symbol in ("+", "*", "-"):
            # numpy's truths stay truths.
            if symbol == "-":
                raise TypeError("numpy boolean subtract, the `-` operator, is not supported")
            pick = max if symbol == "+" else min
            return Series._of([pick(one, two) for one, two in zip(left, right)], BOOL)
        answer = []
        for one, two in zip(left, right):
            if not numeric and (is_null(one) or is_null(two)):
                # Among objects pandas steps over what is missing.
                answer.append(None if INSTANT in (self._kind, kind) else NAN)
                continue
            answer.append(operation(one, two))
        if numeric and FLOAT in (self._kind, kind):
            return Series._of(answer, FLOAT)
        return Series._of(answer)

    def _compare(self, other, operation, symbol, of_nulls=False):
        right, kind = self._pair(other)
        answer = []
        for one, two in zip(self._values, right):
            if is_null(one) or is_null(two):
                answer.append(of_nulls)
            else:
                answer.append(bool(operation(one, two)))
        return Series._of(answer, BOOL)

    def _logic(self, other, operation, symbol):
        right, kind = self._pair(other)
        if self._kind == INT and kind == INT:
            return Series._of([operation(one, two) for one, two in zip(self._values, right)], INT)
        if FLOAT in (self._kind, kind):
            raise TypeError(f"unsupported operand type(s) for {symbol}: 'float' and 'bool'")
        pairs = zip(self._values, right)
        # A missing truth is false, as in pandas.
        return Series._of(
            [bool(operation(bool(one or False), bool(two or False))) for one, two in pairs], BOOL
        )

    def __add__(self, other):
        return self._arithmetic(other, lambda a, b: a + b, "+")

    def __radd__(self, other):
        return self._arithmetic(other, lambda a, b: a + b, "+", swap=True)

    def __sub__(self, other):
        return self._arithmetic(other, lambda a, b: a - b, "-")

    def __rsub__(self, other):
        return self._arithmetic(other, lambda a, b: a - b, "-", swap=True)

    def __mul__(self, other):
        return self._arithmetic(other, lambda a, b: a * b, "*")

    def __rmul__(self, other):
        return self._arithmetic(other, lambda a, b: a * b, "*", swap=True)

    def __truediv__(self, other):
        return self._arithmetic(other, divide, "/")

    def __rtruediv__(self, other):
        return self._arithmetic(other, divide, "/", swap=True)

    def __floordiv__(self, other):
        return self._arithmetic(other, floor_divide, "//")

    def __rfloordiv__(self, other):
        return self._arithmetic(other, floor_divide, "//", swap=True)

    def __mod__(self, other):
        return self._arithmetic(other, modulo, "%")

    def __rmod__(self, other):
        return self._arithmetic(other, modulo, "%", swap=True)

    def __pow__(self, other):
        return self._arithmetic(other, power, "**")

    def __rpow__(self, other):
        return self._arithmetic(other, power, "**", swap=True)

    def __neg__(self):
        return Series._of([-value for value in self._values], self._kind)

    def __abs__(self):
        return self.abs()

    def __eq__(self, other):
        return self._compare(other, lambda a, b: a == b, "==")

    def __ne__(self, other):
        return self._compare(other, lambda a, b: a != b, "!=", of_nulls=True)

    def __lt__(self, other):
        return self._compare(other, lambda a, b: a < b, "<")

    def __le__(self, other):
        return self._compare(other, lambda a, b: a <= b, "<=")

    def __gt__(self, other):
        return self._compare(other, lambda a, b: a > b, ">")

    def __ge__(self, other):
        return self._compare(other, lambda a, b: a >= b, ">=")

    __hash__ = None
    eq, ne, lt, le, gt, ge = __eq__, __ne__, __lt__, __le__, __gt__, __ge__

    def __and__(self, other):
        return self._logic(other, lambda a, b: a & b, "&")

    def __or__(self, other):
        return self._logic(other, lambda a, b: a | b, "|")

    def __xor__(self, other):
        return self._logic(other, lambda a, b: a ^ b, "^")

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self):
        if self._kind == INT:
            return Series._of([~value for value in self._values], INT)
        if self._kind != BOOL:
            raise TypeError(f"bad operand type for unary ~: '{self._kind}'")
        return Series._of([not value for value in self._values], BOOL)

    # --- operators by name ---

    def _by_name(self, other, fill_value, operation):
        if fill_value is None or not isinstance(other, Series):
            return operation(self if fill_value is None else self.fillna(fill_value), other)
        answer = operation(self.fillna(fill_value), other.fillna(fill_value))
        # What is missing on both sides stays missing.
        return answer.mask(self.isna() & other.isna())

    def add(self, other, fill_value=None):
        return self._by_name(other, fill_value, operator.add)

    def sub(self, other, fill_value=None):
        return self._by_name(other, fill_value, operator.sub)

    def mul(self, other, fill_value=None):
        return self._by_name(other, fill_value, operator.mul)

    def div(self, other, fill_value=None):
        return self._by_name(other, fill_value, operator.truediv)

    def floordiv(self, other, fill_value=None):
        return self._by_name(other, fill_value, operator.floordiv)

    def mod(self, other, fill_value=None):
        return self._by_name(other, fill_value, operator.mod)

    def pow(self, other, fill_value=None):
        return self._by_name(other, fill_value, operator.pow)

    subtract, multiply, divide, truediv = sub, mul, div, div

    # --- what columns can do ---

    def copy(self):
        return Series._of(list(self._values), self._kind)

    def isna(self):
        return Series._of([is_null(value) for value in self._values], BOOL)

    def notna(self):
        return Series._of([not is_null(value) for value in self._values], BOOL)

    isnull, notnull = isna, notna

    def fillna(self, value):
        if isinstance(value, dict):
            unsupported("Series.fillna with a dictionary")
        fills, kind = self._pair(value)
        filled = [fill if is_null(held) else held for held, fill in zip(self._values, fills)]
        # A float column stays one, whatever fills it, unless that is no number.
        keep = self._kind == FLOAT and kind in NUMERIC
        return Series._of(filled, FLOAT if keep else None)

    def where(self, condition, other=None):
        return self._choose(condition, other, keep=True)

    def mask(self, condition, other=None):
        return self._choose(condition, other, keep=False)

    def _choose(self, condition, other, keep):
        chosen, _ = self._pair(condition)
        if other is None:
            other = NAN if self._kind in NUMERIC else None
        others, kind = self._pair(other)
        values = [
            held if bool(truth) is keep else fill
            for held, truth, fill in zip(self._values, chosen, others)
        ]
        is_float = FLOAT in (self._kind, kind) and self._kind in (FLOAT, INT) and kind in (FLOAT, INT)
        return Series._of(values, FLOAT if is_float else None)

    def clip(self, lower=None, upper=None):
        lows, highs = self._pair(lower)[0], self._pair(upper)[0]
        values = []
        for value, low, high in zip(self._values, lows, highs):
            if not is_null(value):
                if not is_null(low) and value < low:
                    value = low
                if not is_null(high) and value > high:
                    value = high
            values.append(value)
        return Series._of(values, FLOAT if self._kind == FLOAT else None)

    def abs(self):
        return Series._of([abs(value) for value in self._values], self._kind)

    def round(self, decimals=0):
        if self._kind != FLOAT:
            return self.copy()
        return Series._of([round_like_numpy(value, decimals) for value in self._values], FLOAT)

    def isin(self, values):
        wanted = list(values)
        return Series._of([value in wanted for value in self._values], BOOL)

    def between(self, left, right):
        return (self >= left) & (self <= right)

    def map(self, arg, na_action=None):
        if na_action not in (None, "ignore"):
            raise ValueError(f"na_action must either be 'ignore' or None, {na_action} was passed")
        if isinstance(arg, dict):
            return Series._of([arg.get(value, NAN) for value in self._values])
        if not callable(arg):
            unsupported(f"Series.map with a {type(arg).__name__}")
        skip = na_action == "ignore"
        answer = [
            value if skip and is_null(value) else arg(value) for value in self._values
        ]
        if any(isinstance(value, (Series, DataFrame)) for value in answer):
            unsupported("a function that makes a column of each value")
        return Series._of(answer)

    def apply(self, func, args=(), **named):
        if not callable(func):
            unsupported("Series.apply with anything but a function")
        return self.map(lambda value: func(value, *args, **named))

    def any(self):
        return any(bool(value) for value in self._values if not is_null(value))

    def all(self):
        return all(bool(value) for value in self._values if not is_null(value))

    def tolist(self):
        return list(self._values)

    to_list = tolist

    @property
    def values(self):
        return self.copy()

    def to_numpy(self):
        return self.copy()

    @property
    def loc(self):
        return SeriesRows(self)

    @property
    def dt(self):
        return galley_times.Times(self)

    def replace(self, to_replace, value=None):
        if not isinstance(to_replace, dict):
            if isinstance(to_replace, (list, tuple)):
                to_replace = {each: value for each in to_replace}
            else:
                to_replace = {to_replace: value}
        return Series._of([to_replace.get(held, held) for held in self._values])

    def astype(self, dtype):
        return Series._of(*cast(self._values, self._kind, dtype))

    @property
    def str(self):
        return galley_text.Text(self)


def round_like_numpy(value, decimals):
    """numpy multiplies, rounds half to even, and divides."""
    if is_null(value) or math.isinf(value):
        return value
    scale = 10.0 ** abs(decimals)
    if decimals > 0 and math.isinf(value * scale):
        return value * scale
    if decimals < 0:
        return float(round(value / scale)) * scale
    return float(round(value * scale)) / scale


def cast(values, kind, dtype):
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", "?")
    if name in ("float", "float64", "float32"):
        if None in values and kind == OBJECT:
            values = [NAN if value is None else value for value in values]
        floats = [float(value) for value in values]
        if name == "float32":
            floats = [struct.unpack("f", struct.pack("f", value))[0] for value in floats]
        return floats, FLOAT
    if name in ("int", "int64", "int32"):
        if any(value is None or value != value or value in (math.inf, -math.inf) for value in values):
            raise ValueError("Cannot convert non-finite values (NA or inf) to integer")
        return [int(value) for value in values], INT
    if name in ("bool", "boolean", "bool_"):
        if name == "boolean":
            unsupported("astype('boolean')")
        return [bool(value) for value in values], BOOL
    if name in ("str", "str_"):
        return ["nan" if value != value else str(value) for value in values], OBJECT
    if name == "object":
        return list(values), OBJECT
    unsupported(f"Series.astype({name!r})")


class DataFrame:
    def __init__(self, data=None, index=None, columns=None):
        self._columns = {}
        self._rows = None
        if index is not None and not isinstance(index, Index):
            unsupported("DataFrame(index=..)")
        if index is not None:
            self._rows = index.rows
        if isinstance(data, DataFrame):
            data = data._columns
        if data is not None and not isinstance(data, dict):
            unsupported(f"DataFrame of a {type(data).__name__}")
        items = data or {}
        # Columns tell the number of rows before plain values are spread over them.
        for name, value in sorted(items.items(), key=lambda item: is_plain(item[1])):
            self[name] = value
        self._columns = {name: self._columns[name] for name in items}
        if columns is not None:
            self._columns = self[list(columns)]._columns

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._columns:
            return self._columns[name]
        unsupported(f"DataFrame.{name}")

    def __len__(self):
        return self._rows or 0

    def __iter__(self):
        return iter(self._columns)

    def __contains__(self, name):
        return name in self._columns

    def keys(self):
        return list(self._columns)

    @property
    def columns(self):
        return list(self._columns)

    @property
    def index(self):
        return Index(len(self))

    @property
    def empty(self):
        return not self._columns or not len(self)

    def __getitem__(self, key):
        if isinstance(key, str):
            return self._columns[key]
        if isinstance(key, list):
            absent = [name for name in key if name not in self._columns]
            if absent:
                raise KeyError(f"{absent} not in index")
            part = DataFrame()
            part._rows = self._rows
            part._columns = {name: self._columns[name] for name in key}
            return part
        unsupported("picking rows of a DataFrame")

    def __setitem__(self, name, value):
        if isinstance(name, list):
            unsupported("setting several columns of a DataFrame at once")
        if isinstance(value, Series):
            series = value.copy()
        elif is_plain(value):
            series = Series._of([value] * len(self))
        else:
            series = Series(value)
        if self._rows is None or not self._columns and not self._rows:
            self._rows = len(series)
        elif len(series) != self._rows:
            raise ValueError(
                f"Length of values ({len(series)}) does not match length of index ({self._rows})"
            )
        series.name = name
        self._columns[name] = series

    def __delitem__(self, name):
        del self._columns[name]

    def get(self, name, default=None):
        return self._columns.get(name, default)

    def copy(self):
        return self[list(self._columns)]

    def assign(self, **columns):
        frame = self.copy()
        for name, value in columns.items():
            frame[name] = value(frame) if callable(value) else value
        return frame

    def rename(self, columns):
        frame = DataFrame()
        frame._rows = self._rows
        frame._columns = {columns.get(name, name): held for name, held in self._columns.items()}
        return frame

    def drop(self, columns):
        gone = [columns] if isinstance(columns, str) else list(columns)
        return self[[name for name in self._columns if name not in gone]]

    def _each(self, operation):
        frame = DataFrame()
        frame._rows = self._rows
        frame._columns = {name: operation(name, held) for name, held in self._columns.items()}
        return frame

    def fillna(self, value):
        if isinstance(value, dict):
            return self._each(lambda name, held: held.fillna(value[name]) if name in value else held)
        return self._each(lambda name, held: held.fillna(value))

    def astype(self, dtype):
        if isinstance(dtype, dict):
            return self._each(lambda name, held: held.astype(dtype[name]) if name in dtype else held)
        return self._each(lambda name, held: held.astype(dtype))

    def apply(self, func, axis=0):
        if axis not in (1, "columns"):
            unsupported("DataFrame.apply without axis=1")
        names, columns = list(self._columns), [held._values for held in self._columns.values()]
        kinds = {held._kind for held in self._columns.values()}
        if kinds == {INT, FLOAT}:
            # A row of numbers alone is one of floats.
            columns = [[float(value) for value in column] for column in columns]
        answer = [func(Row(dict(zip(names, row)))) for row in zip(*columns)]
        if any(isinstance(value, (Row, Series, dict, list)) for value in answer):
            unsupported("a function that makes several values of each row")
        return Series._of(answer)

    def _across(self, name, axis, pick, empty, kinds=(INT, FLOAT)):
        """One value of each row's values that are there, or `empty` where there are none."""
        if axis not in (1, "columns"):
            unsupported(f"DataFrame.{name} without axis=1")
        held = list(self._columns.values())
        if any(column._kind not in kinds and column.notna().any() for column in held):
            unsupported(f"DataFrame.{name} over columns that are not all of {' and '.join(kinds)}")
        rows = zip(*(column._values for column in held)) if held else [()] * len(self)
        present = ([value for value in row if not is_null(value)] for row in rows)
        answer = [pick(row) if row else empty for row in present]
        is_float = FLOAT in {column._kind for column in held}
        return Series._of(answer, FLOAT if is_float else None)

    def sum(self, axis=0):
        return self._across("sum", axis, _sum, 0)

    def mean(self, axis=0):
        return self._across("mean", axis, lambda row: _sum(row) / len(row), NAN)

    def min(self, axis=0):
        return self._across("min", axis, min, NAN)

    def max(self, axis=0):
        return self._across("max", axis, max, NAN)

    def any(self, axis=0):
        return self._across("any", axis, any, False, (BOOL,))

    def all(self, axis=0):
        return self._across("all", axis, all, True, (BOOL,))

    @property
    def loc(self):
        return FrameRows(self)

    def isna(self):
        return self._each(lambda name, held: held.isna())

    def notna(self):
        return self._each(lambda name, held: held.notna())


def _sum(values):
    """From left to right, as numpy adds few; Python's own `sum` makes up for lost digits."""
    total = 0
    for value in values:
        total += value
    return total


class SeriesRows:
    """`Series.loc`, for setting where a column of truths says so."""

    def __init__(self, series):
        self._series = series

    def __getitem__(self, key):
        unsupported("picking rows with .loc")

    def __setitem__(self, key, value):
        self._series[key] = value


class FrameRows:
    """`DataFrame.loc`, for setting one column where a column of truths says so."""

    def __init__(self, frame):
        self._frame = frame

    def __getitem__(self, key):
        unsupported("picking rows with .loc")

    def __setitem__(self, key, value):
        rows, name = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        if isinstance(rows, slice) and rows == slice(None) and isinstance(name, str):
            self._frame[name] = value
            return
        if not isinstance(rows, Series) or not isinstance(name, str):
            unsupported("setting anything but one column with .loc[truths, column]")
        if name not in self._frame:
            fill = NAN if is_number(value) or isinstance(value, Series) and value._kind in NUMERIC else None
            self._frame[name] = Series._of([fill] * len(self._frame), FLOAT if fill is not None else OBJECT)
        self._frame[name][rows] = value


class Row:
    """One row of a frame, as `DataFrame.apply(.., axis=1)` hands it over."""

    def __init__(self, values):
        self._values = values

    def __getitem__(self, name):
        return self._values[name]

    def __getattr__(self, name):
        if not name.startswith("_") and name in self._values:
            return self._values[name]
        unsupported(f"{name} of a row of a DataFrame")

    def __contains__(self, name):
        return name in self._values

    def get(self, name, default=None):
        return self._values.get(name, default)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Index:
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return self.rows


def is_plain(value):
    return not isinstance(value, (Series, list, tuple))


# --- between columns and frames ---


def from_columns(columns, types, rows):
    frame = DataFrame()
    frame._rows = rows
    for name, values in columns.items():
        tag = types[name]
        if tag == "timestamp":
            series = Series._of(values, INSTANT)
        elif tag in ("float32", "float64"):
            series = Series._of(values, FLOAT)
        else:
            series = Series._of(values)
        series.name = name
        frame._columns[name] = series
    return frame


def to_columns(answer, names):
    """The frame that a function returned; NaN is a null in it, as in Feast."""
    if not isinstance(answer, (DataFrame, dict)):
        return answer
    columns = {}
    for name in answer:
        values = answer[name]
        values = values._values if isinstance(values, Series) else values
        columns[name] = [None if value != value else value for value in values]
    return columns


# --- pandas itself ---


def _to_numeric(value, errors="raise"):
    if errors not in ("raise", "coerce"):
        unsupported(f"pd.to_numeric(errors={errors!r})")

    def number(each):
        if not isinstance(each, str):
            return each
        if not each:
            return NAN
        try:
            if "_" in each:
                raise ValueError(each)
            return int(each) if each.strip().lstrip("+-").isdecimal() else float(each)
        except ValueError:
            if errors == "coerce":
                return NAN
            raise ValueError(f"Unable to parse string {each!r}") from None

    if not isinstance(value, Series):
        return number(value)
    return Series._of([number(each) for each in value._values])


# They need what stands above.
import galley_numpy  # noqa: E402
import galley_text  # noqa: E402
import galley_times  # noqa: E402

PANDAS = {
    "DataFrame": DataFrame,
    "Series": Series,
    "NaT": None,
    "Timestamp": galley_times.Timestamp,
    "Timedelta": galley_times.Timedelta,
    "to_datetime": galley_times.to_datetime,
    "to_numeric": _to_numeric,
    "isna": lambda value: value.isna() if hasattr(value, "isna") else is_null(value),
    "isnull": lambda value: value.isna() if hasattr(value, "isna") else is_null(value),
    "notna": lambda value: value.notna() if hasattr(value, "notna") else not is_null(value),
    "notnull": lambda value: value.notna() if hasattr(value, "notna") else not is_null(value),
}


class _Module(_types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        unsupported(f"{self.__name__}.{name}")


def _module(name, contents):
    module = _Module(name)
    module.__dict__.update(contents)
    return module


pandas = _module("pandas", PANDAS)
numpy = _module("numpy", galley_numpy.NUMPY)


def install():
    """Lets functions import the two by their names."""
    sys.modules["pandas"] = pandas
    sys.modules["numpy"] = numpy
