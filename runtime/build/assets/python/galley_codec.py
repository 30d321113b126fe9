"""Columns as Python lists, and back. Nulls are None."""

import json
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from wit_world.imports import types as wit

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)

KINDS = {
    "bool": wit.Kind.BOOLEAN,
    "int32": wit.Kind.INT32,
    "int64": wit.Kind.INT64,
    "float32": wit.Kind.FLOAT32,
    "float64": wit.Kind.FLOAT64,
    "string": wit.Kind.UTF8,
    "bytes": wit.Kind.BINARY,
    "timestamp": wit.Kind.TIMESTAMP_MICROS,
    # Held as text, and something else to Python.
    "json": wit.Kind.UTF8,
    "uuid": wit.Kind.UTF8,
    "decimal": wit.Kind.UTF8,
    "zoned": wit.Kind.UTF8,
}
CASES = {
    wit.Kind.BOOLEAN: wit.ScalarValues_Boolean,
    wit.Kind.INT32: wit.ScalarValues_Int32,
    wit.Kind.INT64: wit.ScalarValues_Int64,
    wit.Kind.FLOAT32: wit.ScalarValues_Float32,
    wit.Kind.FLOAT64: wit.ScalarValues_Float64,
    wit.Kind.UTF8: wit.ScalarValues_Utf8,
    wit.Kind.BINARY: wit.ScalarValues_Binary,
    wit.Kind.TIMESTAMP_MICROS: wit.ScalarValues_TimestampMicros,
}


# What goes out is made of these; what comes in, of what `quicken` puts in their places.
Batch, Column, Packed, ArrayValues = wit.Batch, wit.Column, wit.Packed, wit.ArrayValues


def quicken():
    """Spares the glue from running Python for each part of a batch that comes in.

    For every record and every case of a variant it calls the class of that name, and the
    constructor of a dataclass is Python code: one for each is half of the time of a small call.
    A pair made by `slice` and a payload left as it is are made without any. Which case came needs
    no telling: the host hands over what the signature says.

    To be called while the component is built: afterwards the glue has made its choice.
    """
    # As a class's __new__, called with the class and the payload: a look-up in an empty dictionary
    # gives the second, and what is not of the class is not initialised.
    payload = {}.get
    for case in (*CASES.values(), wit.Values_Scalar, wit.Values_Array):
        case.__new__ = payload
    wit.Batch = wit.Column = wit.Packed = wit.ArrayValues = slice


def case_of(case, value=None):
    """A case of a variant on its way out."""
    made = object.__new__(case)
    made.value = value
    return made


class BadOutput(Exception):
    """What the author's function returned does not fit what it declares."""


def describe_error(error, file_name, lines):
    """`ValueError: text (view.py line 7: the line)`: the author's own place.

    The traceback module looks at files, and there are none in the sandbox.
    """
    number, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == file_name:
            number = step.tb_lineno
        step = step.tb_next
    text = f"{type(error).__name__}: {error}"
    if number is None:
        return text
    line = lines[number - 1].strip() if number <= len(lines) else ""
    return f"{text} ({file_name.rsplit('/', 1)[-1]} line {number}: {line})"


def split(tag):
    """`list:int64` -> (`list`, `int64`), `int64` -> (``, `int64`)."""
    form, _, element = tag.rpartition(":")
    return form, element


def data_type(tag):
    form, element = split(tag)
    kind = KINDS[element]
    return wit.DataType_Array(kind) if form else wit.DataType_Scalar(kind)


def field(name, tag, nullable):
    return wit.Field(name, data_type(tag), nullable)


# --- reading ---


def from_micros(micros):
    return EPOCH + timedelta(microseconds=micros)


def from_zoned(text):
    instant, _, zone = text.partition("[")
    value = datetime.fromisoformat(instant)
    try:
        from zoneinfo import ZoneInfo

        return value.astimezone(ZoneInfo(zone.rstrip("]"))) if zone else value
    except Exception:  # There is no zone database here: the offset is kept.
        return value


CONVERT_IN = {
    "bool": bool,
    "timestamp": from_micros,
    "json": json.loads,
    "uuid": uuid.UUID,
    "decimal": Decimal,
    "zoned": from_zoned,
}


def unpack(packed, as_text):
    offsets, data = packed.start, packed.stop
    if len(offsets) == 2:
        return [data.decode()] if as_text else [data]
    parts = [data[start:end] for start, end in zip(offsets, offsets[1:])]
    return [part.decode("utf-8") for part in parts] if as_text else parts


def comes_ready(tag):
    """Whether a column without nulls holds what `decoder` makes of it."""
    return tag in ("int32", "int64", "float32", "float64")


def decoder(tag):
    """A function from a column to a list with None for nulls."""
    form, element = split(tag)
    kind = KINDS[element]
    convert = CONVERT_IN.get(element)
    is_packed = kind in (wit.Kind.UTF8, wit.Kind.BINARY)
    as_text = kind is wit.Kind.UTF8

    def items_of(items):
        return unpack(items, as_text) if is_packed else items

    def scalar(column):
        items, validity = items_of(column.start), column.stop
        if validity is None:
            return [convert(item) for item in items] if convert else items
        return [
            (convert(item) if convert else item) if validity[row >> 3] >> (row & 7) & 1 else None
            for row, item in enumerate(items)
        ]

    def array(column):
        held, validity = column.start, column.stop
        items, offsets = items_of(held.stop), held.start
        if convert:
            items = [convert(item) for item in items]
        gather = set if form == "set" else list
        return [
            gather(items[offsets[row] : offsets[row + 1]])
            if validity is None or validity[row >> 3] >> (row & 7) & 1
            else None
            for row in range(len(offsets) - 1)
        ]

    return array if form else scalar


# --- writing ---


def to_micros(value):
    if not isinstance(value, datetime):
        raise TypeError
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    return (value - EPOCH) // MICROSECOND


def to_int(bits):
    limit = 1 << (bits - 1)

    def convert(value):
        if isinstance(value, (str, bytes)):
            raise TypeError
        number = int(value)
        if not -limit <= number < limit:
            raise OverflowError(f"{number} does not fit {bits} bits")
        return number

    return convert


def to_float(value):
    if isinstance(value, (str, bytes)):
        raise TypeError
    return float(value)


def to_text(value):
    if not isinstance(value, str):
        raise TypeError
    return value.encode("utf-8")


def to_bytes(value):
    if not isinstance(value, (bytes, bytearray)):
        raise TypeError
    return bytes(value)


def to_json(value):
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8")


def to_zoned(value):
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    key = getattr(value.tzinfo, "key", None)
    return (value.isoformat() + (f"[{key}]" if key else "")).encode("utf-8")


CONVERT_OUT = {
    "bool": bool,
    "int32": to_int(32),
    "int64": to_int(64),
    "float32": to_float,
    "float64": to_float,
    "string": to_text,
    "bytes": to_bytes,
    "timestamp": to_micros,
    "json": to_json,
    "uuid": lambda value: str(value).encode("utf-8"),
    "decimal": lambda value: str(value).encode("utf-8"),
    "zoned": to_zoned,
}


def pack(kind, items):
    """Values as the payload of their case."""
    if kind in (wit.Kind.UTF8, wit.Kind.BINARY):
        offsets, end = [0], 0
        for item in items:
            end += len(item)
            offsets.append(end)
        return Packed(offsets, b"".join(items))
    return bytes(items) if kind is wit.Kind.BOOLEAN else items


# The type whose values are right as they are, which `convert` would find out one by one.
PLAIN = {
    "bool": bool, "int32": int, "int64": int, "float32": float, "float64": float, "bytes": bytes,
}
# The least and the greatest number there is.
BOUNDS = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}


ZEROS = {wit.Kind.UTF8: b"", wit.Kind.BINARY: b"", wit.Kind.FLOAT32: 0.0, wit.Kind.FLOAT64: 0.0}


def bitmap(values):
    bits = bytearray((len(values) + 7) // 8)
    for row, value in enumerate(values):
        if value is not None:
            bits[row >> 3] |= 1 << (row & 7)
    return bytes(bits)


class Writer:
    """Makes a column of an output from a list with None for nulls.

    The column is one object for all calls: only what it holds is new.
    """

    def __init__(self, name, tag):
        self.name, self.tag = name, tag
        form, element = split(tag)
        self.kind = KINDS[element]
        self.convert = CONVERT_OUT[element]
        self.plain = {PLAIN[element]} if element in PLAIN else frozenset()
        self.bounds = BOUNDS.get(element)
        self.as_it_is = comes_ready(tag)
        self.zero = ZEROS.get(self.kind, 0)
        # NaN cannot be an integer: it stands for a null there, as it does in pandas.
        self.nan_is_null = element in ("int32", "int64", "bool")
        self.values = case_of(CASES[self.kind])
        if form:
            self.arrays = ArrayValues([], self.values)
            self.column = Column(case_of(wit.Values_Array, self.arrays), None)
            self.write = self.write_arrays
        else:
            self.column = Column(case_of(wit.Values_Scalar, self.values), None)
            self.write = self.write_scalars

    def one(self, value, row):
        try:
            return self.convert(value)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            why = f": {error}" if str(error) else ""
            raise BadOutput(
                f"output {self.name} is declared {self.tag}, row {row} holds "
                f"{value!r:.80} ({type(value).__name__}){why}"
            ) from None

    def check(self, values, rows):
        if not isinstance(values, (list, tuple)):
            raise BadOutput(f"output {self.name} is a {type(values).__name__}, not a list")
        if len(values) != rows:
            raise BadOutput(f"output {self.name} has {len(values)} values for {rows} rows")

    def write_scalars(self, values, rows):
        if type(values) is list and len(values) == rows and self.plain.issuperset(map(type, values)):
            bounds = self.bounds
            if bounds is None or bounds[0] <= min(values) <= max(values) <= bounds[1]:
                self.values.value = values if self.as_it_is else pack(self.kind, values)
                self.column.validity = None
                return
        self.check(values, rows)
        if self.nan_is_null:
            values = [None if value != value else value for value in values]
        zero, one = self.zero, self.one
        items = [zero if value is None else one(value, row) for row, value in enumerate(values)]
        self.values.value = pack(self.kind, items)
        self.column.validity = bitmap(values) if None in values else None

    def write_arrays(self, values, rows):
        self.check(values, rows)
        offsets, items, one = [0], [], self.one
        for row, value in enumerate(values):
            if value is not None:
                if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
                    raise BadOutput(f"output {self.name} is declared {self.tag}, row {row} is no list")
                items.extend(one(item, row) for item in value)
            offsets.append(len(items))
        self.arrays.offsets, self.values.value = offsets, pack(self.kind, items)
        has_nulls = any(value is None for value in values)
        self.column.validity = bitmap(values) if has_nulls else None
