"""The request's clock and randomness in the place of the machine's.

The sandbox has no clock and no entropy: without this, both would stand still at the moment the
component was built.
"""

import datetime as _datetime_module
import os
import random
import time

from wit_world.imports import request as wit_request

_REAL_DATETIME = _datetime_module.datetime
_REAL_DATE = _datetime_module.date

# A fixed instant while the component is being built: there is no request then.
BUILD_MICROS = 1_767_225_600_000_000
building = True


def now_micros():
    return BUILD_MICROS if building else wit_request.now_micros()


def seed():
    return 0 if building else wit_request.seed()


def variable(name):
    return None if building else wit_request.variable(name)


class _DatetimeMeta(type):
    def __instancecheck__(cls, value):
        return isinstance(value, _REAL_DATETIME)

    def __subclasscheck__(cls, other):
        return issubclass(other, _REAL_DATETIME)


class datetime(_REAL_DATETIME, metaclass=_DatetimeMeta):
    @classmethod
    def now(cls, tz=None):
        instant = _REAL_DATETIME(1970, 1, 1, tzinfo=_datetime_module.timezone.utc)
        instant += _datetime_module.timedelta(microseconds=now_micros())
        return instant.replace(tzinfo=None) if tz is None else instant.astimezone(tz)

    @classmethod
    def utcnow(cls):
        return cls.now()

    @classmethod
    def today(cls):
        return cls.now()


class _DateMeta(type):
    def __instancecheck__(cls, value):
        return isinstance(value, _REAL_DATE)

    def __subclasscheck__(cls, other):
        return issubclass(other, _REAL_DATE)


class date(_REAL_DATE, metaclass=_DateMeta):
    @classmethod
    def today(cls):
        return datetime.now().date()


def install():
    """Puts the request's clock where Python code looks for one."""
    _datetime_module.datetime = datetime
    _datetime_module.date = date
    time.time = lambda: now_micros() / 1e6
    time.time_ns = lambda: now_micros() * 1000
    time.monotonic = time.time
    time.perf_counter = time.time
    os.urandom = lambda size: random.randbytes(size)


def reseed():
    """Called once a call, for functions that use randomness."""
    random.seed(seed())
