"""A Feast on-demand feature view as a component."""

import ast

import galley_codec as codec
import galley_request as request
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log as wit_log
from wit_world.imports import types as wit

REFUSAL = "galley-refusal: "


class MissingOutputs(Exception):
    pass


def log_print(*values, sep=" ", end="", file=None, flush=False):
    if not request.building:
        wit_log.log(wit_log.Level.INFO, str(sep).join(str(value) for value in values))


def load(spec, names):
    """The view's function from the text that Feast keeps, without its decorators."""
    import __future__

    file_name = spec["view"] + ".py"
    tree = ast.parse(spec["source"], file_name)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    function.decorator_list = []
    tree.body = [function]
    code = compile(
        tree, file_name, "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True
    )
    space = {"__name__": spec["view"], "print": log_print, **names}
    exec(code, space)
    return space[function.name], file_name


class View:
    def __init__(self, spec, names):
        self.spec = spec
        self.function, self.file_name = load(spec, names)
        self.lines = spec["source"].splitlines()
        self.readers = [
            (
                codec.decoder(entry["type"]), codec.comes_ready(entry["type"]),
                entry["keys"][0], entry["keys"][1:],
            )
            for entry in spec["inputs"]
        ]
        self.writers = {
            entry["name"]: codec.Writer(entry["name"], entry["type"]) for entry in spec["outputs"]
        }
        # One object for all calls.
        self.answer = codec.Batch(0, [writer.column for writer in self.writers.values()])
        self.uses_random = spec["uses_random"]
        self.signature = wit.Signature(
            spec["view"],
            spec["version"],
            [codec.field(entry["name"], entry["type"], True) for entry in spec["inputs"]],
            [codec.field(entry["name"], entry["type"], True) for entry in spec["outputs"]],
            wit.NullHandling.CALLED_ON_NULL,
            wit.Volatility.PER_REQUEST if spec["uses_request"] else wit.Volatility.IMMUTABLE,
        )
        # Lists are what the function itself takes.
        self.run = {"lists": None, "rows": self.run_rows, "frame": self.run_frame}[spec["style"]]

    def run_rows(self, columns, rows):
        """A singleton takes one row at a time, and gives one value for each output."""
        gathered = {name: [] for name in self.writers}
        for row in range(rows):
            answer = self.function({key: values[row] for key, values in columns.items()})
            self.check_names(answer)
            for name, values in gathered.items():
                values.append(answer[name])
        return gathered

    def run_frame(self, columns, rows):
        import galley_frame

        types = {key: entry["type"] for entry in self.spec["inputs"] for key in entry["keys"]}
        frame = galley_frame.from_columns(columns, types, rows)
        return galley_frame.to_columns(self.function(frame), list(self.writers))

    def check_names(self, answer):
        if not hasattr(answer, "keys"):
            raise MissingOutputs(
                f"{self.spec['view']} returned a {type(answer).__name__}, not a dictionary"
            )
        missing = [name for name in self.writers if name not in answer]
        if missing:
            raise MissingOutputs(
                f"{self.spec['view']} did not return {', '.join(missing)}; "
                f"it returned {', '.join(map(str, answer)) or 'nothing'}"
            )

    def apply(self, batch):
        """Answers a batch. Written out in one piece: a call of a function is what costs here."""
        try:
            columns, rows = {}, batch.start
            for (read, comes_ready, key, others), column in zip(self.readers, batch.stop):
                if comes_ready and column.stop is None:
                    values = column.start
                else:
                    values = read(column)
                columns[key] = values
                for other in others:
                    columns[other] = values
            if self.uses_random:
                request.reseed()
            run = self.run
            answer = self.function(columns) if run is None else run(columns, rows)
            if type(answer) is not dict:
                self.check_names(answer)
            for name, writer in self.writers.items():
                if name not in answer:
                    self.check_names(answer)
                writer.write(answer[name], rows)
            batch = self.answer
            batch.rows = rows
            return batch
        except (codec.BadOutput, MissingOutputs) as error:
            raise Err(wit.Error_Internal(str(error))) from None
        except Exception as error:
            wit_log.log(wit_log.Level.ERROR, codec.describe_error(error, self.file_name, self.lines))
            message = str(error) or type(error).__name__
            raise Err(wit.Error_Rejected(wit.Rejection(None, message))) from None

    def try_out(self):
        """Runs the function on made-up rows while the component is built.

        Only what no data can mend is a refusal: an output that never comes, or an operation the
        column shim does not have. Errors that other data might not cause are left alone.
        """
        columns = {}
        for entry in self.spec["inputs"]:
            for key in entry["keys"]:
                columns[key] = samples(entry["type"])
        try:
            answer = self.function(columns) if self.run is None else self.run(columns, 2)
            self.check_names(answer)
        except MissingOutputs as error:
            raise SystemExit(REFUSAL + str(error))
        except NotImplementedError as error:
            raise SystemExit(REFUSAL + codec.describe_error(error, self.file_name, self.lines))
        except Exception:
            pass


def samples(tag):
    form, element = codec.split(tag)
    value = {
        "bool": True,
        "int32": 3,
        "int64": 3,
        "float32": 0.5,
        "float64": 0.5,
        "string": "a",
        "bytes": b"a",
        "timestamp": codec.from_micros(request.BUILD_MICROS),
        "json": {},
        "uuid": codec.uuid.UUID(int=1),
        "decimal": codec.Decimal("1.5"),
        "zoned": codec.from_micros(request.BUILD_MICROS),
    }[element]
    if form:
        value = {value} if form == "set" else [value]
    return [value, value]


def component(spec, names):
    """The class that componentize-py looks for."""
    request.install()
    codec.quicken()
    view = View(spec, names)
    view.try_out()
    request.building = False

    class Transformer(exports.Transformer):
        def describe(self):
            return view.signature

        apply = staticmethod(view.apply)

    return Transformer
