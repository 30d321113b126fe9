"""Instants and spans of time of the column shim: `Series.dt`, `pd.Timestamp`, `pd.Timedelta`."""

from datetime import date, datetime, timedelta, timezone

import galley_frame as frame

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# One unit in microseconds, as pandas calls them.
UNITS = {
    "D": 86_400_000_000, "d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000,
    "min": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1,
}


def micros_of(unit):
    if unit not in UNITS:
        frame.unsupported(f"the unit {unit!r} of a time")
    return UNITS[unit]


class Times:
    """`Series.dt`: the parts of instants and of spans; what is missing stays missing."""

    def __init__(self, series):
        self._values = series._values
        present = [value for value in self._values if value is not None]
        # Where all is missing nobody can tell which of the two it was.
        self._parts = {**INSTANT_PARTS, **SPAN_PARTS}
        if all(isinstance(value, timedelta) for value in present):
            self._parts = SPAN_PARTS if present else self._parts
        elif all(isinstance(value, datetime) for value in present):
            self._parts = INSTANT_PARTS
        else:
            raise AttributeError("Can only use .dt accessor with datetimelike values")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        part = self._parts.get(name)
        if part is None:
            frame.unsupported(f"Series.dt.{name}")
        return self._each(part)

    def _each(self, part, kind=None):
        values = [frame.NAN if value is None else part(value) for value in self._values]
        return frame.Series._of(values, kind)

    def _instants(self, part):
        values = [None if value is None else part(value) for value in self._values]
        return frame.Series._of(values, frame.INSTANT)

    def total_seconds(self):
        if self._parts is INSTANT_PARTS:
            raise AttributeError("'DatetimeProperties' object has no attribute 'total_seconds'")
        return self._each(timedelta.total_seconds, frame.FLOAT)

    def strftime(self, date_format):
        return self._each(lambda value: value.strftime(date_format))

    def normalize(self):
        return self._instants(lambda value: value.replace(hour=0, minute=0, second=0, microsecond=0))


INSTANT_PARTS = {
    "year": lambda value: value.year,
    "month": lambda value: value.month,
    "day": lambda value: value.day,
    "hour": lambda value: value.hour,
    "minute": lambda value: value.minute,
    "second": lambda value: value.second,
    "microsecond": lambda value: value.microsecond,
    "dayofweek": lambda value: value.weekday(),
    "day_of_week": lambda value: value.weekday(),
    "weekday": lambda value: value.weekday(),
    "dayofyear": lambda value: value.timetuple().tm_yday,
    "day_of_year": lambda value: value.timetuple().tm_yday,
    "quarter": lambda value: (value.month + 2) // 3,
}
SPAN_PARTS = {
    "days": lambda value: value.days,
    "seconds": lambda value: value.seconds,
    "microseconds": lambda value: value.microseconds,
}


def zoned(value, tz):
    """A time with a zone, UTC or one of the `datetime` module's; None where there is none."""
    if tz is None:
        return value
    if isinstance(tz, str):
        if tz.upper() != "UTC":
            frame.unsupported(f"the time zone {tz!r}")
        tz = timezone.utc
    return value.replace(tzinfo=tz) if value.tzinfo is None else value.astimezone(tz)


def instant(value, unit, tz):
    if isinstance(value, datetime):
        return zoned(value, tz)
    if isinstance(value, date):
        return zoned(datetime(value.year, value.month, value.day), tz)
    if isinstance(value, str):
        return zoned(datetime.fromisoformat(value), tz)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        moment = EPOCH + timedelta(microseconds=value * micros_of(unit or "us"))
        if unit is None:
            # Without a unit these are nanoseconds.
            moment = EPOCH + timedelta(microseconds=value // 1_000)
        return moment if tz is not None else moment.replace(tzinfo=None)
    raise TypeError(f"Cannot convert input [{value}] of type {type(value)} to Timestamp")


class _TimestampMeta(type):
    def __instancecheck__(cls, value):
        return isinstance(value, datetime)


class Timestamp(metaclass=_TimestampMeta):
    """Makes instants of Python's own, as all columns of times hold here."""

    def __new__(cls, value=None, unit=None, tz=None, **parts):
        if parts:
            return zoned(datetime(**({} if value is None else {"year": value}), **parts), tz)
        return instant(value, unit, tz)

    @staticmethod
    def now(tz=None):
        # Looked up when it is called: the request's clock is put in its place.
        import datetime as module

        return zoned(module.datetime.now(timezone.utc), tz or "UTC") if tz else module.datetime.now()

    @staticmethod
    def utcnow():
        return Timestamp.now("UTC")

    today = now


class _TimedeltaMeta(type):
    def __instancecheck__(cls, value):
        return isinstance(value, timedelta)


class Timedelta(metaclass=_TimedeltaMeta):
    """Makes spans of Python's own."""

    def __new__(cls, value=None, unit=None, **parts):
        if value is None:
            return timedelta(**parts)
        if isinstance(value, timedelta):
            return value
        if isinstance(value, str):
            if unit is not None:
                frame.unsupported("pd.Timedelta of text and a unit")
            number = value.strip().rstrip("abcdefghijklmnopqrstuvwxyzD ")
            unit = value.strip()[len(number):].strip()
            unit = {"day": "D", "days": "D", "hour": "h", "hours": "h"}.get(unit, unit)
            value = float(number)
        elif unit is None:
            return timedelta(microseconds=value // 1_000)
        return timedelta(microseconds=value * micros_of(unit))


def to_datetime(value, utc=None, unit=None, errors="raise"):
    """Instants of text, of numbers with a unit, or of instants."""
    if errors != "raise":
        frame.unsupported("pd.to_datetime(errors=..)")
    tz = "UTC" if utc else None
    if not isinstance(value, frame.Series):
        return instant(value, unit, tz)
    values = [None if frame.is_null(each) else instant(each, unit, tz) for each in value._values]
    return frame.Series._of(values, frame.INSTANT)
