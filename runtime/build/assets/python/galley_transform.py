"""Write an on-demand transformation for Galley as a plain Python function.

    from galley_transform import transform

    @transform(outputs={"conv_rate_plus_val": float})
    def conversion_rate(conv_rate: float, val_to_add: int):
        return {"conv_rate_plus_val": conv_rate + val_to_add}

The arguments are the inputs, under their own names: float, int, bool, str, bytes, datetime,
list[..] and set[..] of these, Int32 and Float32 for the narrower kinds. An argument that may be
None is handed nulls; a row with a null in another argument never reaches the function. The
function returns a dictionary of the outputs, or the value when there is only one. ValueError
rejects the request; every other exception is a fault of the function.

With columns=True the arguments are lists, one value a row, and so are the outputs.
"""

import inspect
import types
import typing
from datetime import datetime
from decimal import Decimal
from uuid import UUID


class Int32(int):
    """Declares an input or output as Int32."""


class Float32(float):
    """Declares an input or output as Float32."""


_TAGS = {
    bool: "bool",
    int: "int64",
    Int32: "int32",
    float: "float64",
    Float32: "float32",
    str: "string",
    bytes: "bytes",
    datetime: "timestamp",
    dict: "json",
    UUID: "uuid",
    Decimal: "decimal",
}
_VOLATILITIES = ("immutable", "per-request", "volatile")
_registered = []


def now():
    """The time of the request, with its zone UTC. The only clock there is."""
    import galley_request

    return datetime.fromtimestamp(0, _utc()) + _micros(galley_request.now_micros())


def seed():
    """A number to seed a generator with; the same for the whole request."""
    import galley_request

    return galley_request.seed()


def variable(name):
    """The variable of the component's table in spin.toml, or None."""
    import galley_request

    return galley_request.variable(name)


def log(message, level="info"):
    """Writes a line to the operator's log. level: debug, info, warn or error."""
    import galley_request
    from wit_world.imports import log as wit_log

    # There is nobody to write to while the component is built.
    if not galley_request.building:
        wit_log.log(wit_log.Level[level.upper()], str(message))


def transform(
    function=None, *, name=None, version="0.1.0", outputs=None, columns=False,
    volatility="per-request", inputs=None,
):
    """Makes a function the transformation of the on-demand feature view `name`.

    inputs: {"argument": "input"} for arguments that are not called like their inputs.
    """
    if volatility not in _VOLATILITIES:
        raise ValueError(f"volatility is one of {', '.join(_VOLATILITIES)}")

    def register(function):
        if not outputs:
            raise TypeError('transform needs outputs={"name": type, ..}')
        _registered.append(
            (function, name or function.__name__, version, outputs, columns, volatility, inputs or {})
        )
        return function

    return register if function is None else register(function)


def _utc():
    from datetime import timezone

    return timezone.utc


def _micros(count):
    from datetime import timedelta

    return timedelta(microseconds=count)


def _tag(where, annotation):
    """The tag of a type and whether it may be None."""
    if isinstance(annotation, str):
        raise TypeError(f"{where}: write the type itself, not its name in quotes")
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        others = [each for each in arguments if each is not type(None)]
        if len(others) == 1 and len(arguments) == 2:
            return _tag(where, others[0])[0], True
    elif origin in (list, set) and len(arguments) == 1 and arguments[0] in _TAGS:
        return f"{origin.__name__}:{_TAGS[arguments[0]]}", False
    elif annotation in _TAGS:
        return _TAGS[annotation], False
    raise TypeError(f"{where}: {annotation!r} is not a type that a transformation can have")


class _Function:
    def __init__(self, codec, wit, registered):
        self.function, name, version, outputs, self.columns, volatility, renamed = registered
        self.codec = codec
        self.file = self.function.__code__.co_filename
        # Files are there while the component is built, and not later.
        with open(self.file) as source:
            self.lines = source.read().splitlines()
        fields, self.readers, self.withholds = [], [], []
        hints = inspect.get_annotations(self.function, eval_str=True)
        for argument in inspect.signature(self.function).parameters:
            if argument not in hints:
                raise TypeError(f"argument {argument} of {name} needs a type")
            annotation = hints[argument]
            if self.columns and typing.get_origin(annotation) is list:
                annotation = typing.get_args(annotation)[0]
            tag, nullable = _tag(f"argument {argument} of {name}", annotation)
            fields.append(codec.field(renamed.get(argument, argument), tag, nullable or not self.columns))
            self.readers.append(codec.decoder(tag))
            self.withholds.append(not nullable)
        self.writers = [
            (output, codec.Writer(output, _tag(f"output {output} of {name}", annotation)[0]))
            for output, annotation in outputs.items()
        ]
        # One object for all calls.
        self.answer = codec.Batch(0, [writer.column for _, writer in self.writers])
        none_takes = all(self.withholds)
        handling = "NULL_IN_NULL_OUT" if none_takes else "CALLED_ON_NULL"
        if none_takes:
            for each in fields:
                each.nullable = True
        self.signature = wit.Signature(
            name, version, fields,
            [codec.field(output, _tag(output, annotation)[0], True) for output, annotation in outputs.items()],
            wit.NullHandling[handling],
            wit.Volatility[volatility.upper().replace("-", "_")],
        )

    def named(self, answer):
        if not isinstance(answer, dict) and len(self.writers) == 1:
            answer = {self.writers[0][0]: answer}
        missing = [name for name, _ in self.writers if name not in answer]
        if missing:
            raise LookupError(f"the function did not return {', '.join(missing)}")
        return answer

    def rows(self, columns, rows):
        gathered = {name: [None] * rows for name, _ in self.writers}
        for row, values in enumerate(zip(*columns)):
            if any(value is None and withheld for value, withheld in zip(values, self.withholds)):
                continue
            self.row = row
            answer = self.named(self.function(*values))
            for name, column in gathered.items():
                column[row] = answer[name]
        return gathered

    def apply(self, batch):
        self.row, rows = None, batch.start
        columns = [read(column) for read, column in zip(self.readers, batch.stop)]
        if self.columns:
            answer = self.named(self.function(*columns))
        else:
            answer = self.rows(columns, rows)
        for name, writer in self.writers:
            writer.write(answer[name], rows)
        self.answer.rows = rows
        return self.answer

    def place(self, error):
        return self.codec.describe_error(error, self.file, self.lines)


def component():
    """The class that componentize-py looks for. Called by the build, not by authors."""
    import galley_codec as codec
    import galley_request
    from componentize_py_types import Err
    from wit_world import exports
    from wit_world.imports import log as wit_log
    from wit_world.imports import types as wit

    if len(_registered) != 1:
        raise SystemExit(
            f"galley-refusal: app.py has {len(_registered)} functions with @transform; it needs one"
        )
    try:
        function = _Function(codec, wit, _registered[0])
    except TypeError as error:
        raise SystemExit(f"galley-refusal: {error}")
    galley_request.install()
    codec.quicken()
    galley_request.building = False

    class Transformer(exports.Transformer):
        def describe(self):
            return function.signature

        def apply(self, input):
            try:
                return function.apply(input)
            except ValueError as error:
                wit_log.log(wit_log.Level.ERROR, function.place(error))
                raise Err(wit.Error_Rejected(wit.Rejection(function.row, str(error)))) from None
            except Exception as error:
                place = function.place(error)
                wit_log.log(wit_log.Level.ERROR, place)
                raise Err(wit.Error_Internal(place)) from None

    return Transformer
