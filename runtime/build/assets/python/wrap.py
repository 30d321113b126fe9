"""Reads the source text of a Feast on-demand feature view, without running any of it.

Takes {"view", "source", "mode", "singleton", "inputs", "outputs", "shim", ..} as JSON on stdin, with
the texts of the column shim's modules; writes {"refusals": [..]} or {"app": text, "inputs": [..]} as
JSON to stdout.
"""

import ast
import builtins
import importlib.abc
import importlib.util
import json
import symtable
import sys
import textwrap

STDLIB = frozenset(
    """base64 binascii bisect calendar cmath collections copy dataclasses datetime decimal difflib
    enum fractions functools heapq html itertools json math numbers operator random re statistics
    string struct textwrap time typing unicodedata uuid zoneinfo hashlib urllib.parse
    collections.abc ipaddress""".split()
)
SHIMS = {"numpy": "numpy", "pandas": "pandas"}
GLOBALS = {"np": "numpy", "pd": "pandas"}
NEVER = {
    "open": "files", "input": "a terminal", "breakpoint": "a terminal",
    "__import__": "imports that cannot be seen beforehand", "eval": "code that is not there yet",
    "exec": "code that is not there yet", "compile": "code that is not there yet",
}
# Methods of plain Python values that a pandas-mode function may well use beside its columns.
PLAIN = set("format join split append items values extend total_seconds days seconds".split())


class Carried(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from their texts: none of them is a file here."""

    def __init__(self, texts):
        self.texts = texts

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name in self.texts else None

    def exec_module(self, module):
        name = module.__name__
        exec(compile(self.texts[name], f"{name}.py", "exec"), module.__dict__)


def operations_of(texts):
    """What the column shim has: the functions of its two modules, and all that columns can do."""
    sys.meta_path.insert(0, Carried(texts))
    import galley_frame as frame
    import galley_numpy
    import galley_text
    import galley_times as times

    kinds = (
        frame.Series, frame.DataFrame, frame.Row, galley_text.Text, times.Times, times.Timestamp,
        times.Timedelta,
    )
    public = {name for kind in kinds for name in dir(kind) if not name.startswith("_")}
    return {
        "pandas": set(frame.PANDAS),
        "numpy": set(galley_numpy.NUMPY),
        "columns": public | {"name"} | set(times.INSTANT_PARTS) | set(times.SPAN_PARTS),
    }


def function_of(source):
    tree = ast.parse(textwrap.dedent(source))
    functions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    if not functions:
        raise ValueError("its source text holds no function (a lambda or a class cannot be wrapped)")
    return functions[0]


class Bare(ast.NodeTransformer):
    """Takes annotations away: they are never evaluated."""

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_FunctionDef(self, node):
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        if node.value is None:
            return ast.Pass()
        return ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)


def free_names(function):
    """Names that must come from outside of the function."""
    text = ast.unparse(ast.fix_missing_locations(function))
    names = set()

    def walk(table, top):
        if not top:
            for symbol in table.get_symbols():
                if symbol.is_global() and symbol.is_referenced():
                    names.add(symbol.get_name())
        for child in table.get_children():
            walk(child, False)

    table = symtable.symtable(text, "view", "exec")
    walk(table, True)
    # Defaults are evaluated outside of it.
    for default in [*function.args.defaults, *function.args.kw_defaults]:
        if default is not None:
            names.update(node.id for node in ast.walk(default) if isinstance(node, ast.Name))
    return names - {function.name}


def imports_of(function):
    for node in ast.walk(function):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname or alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            parts = [f"{module}.{alias.name}" for alias in node.names]
            if all(part in STDLIB for part in parts):
                # Modules of a package, as in `from urllib import parse`.
                yield from ((part, None, node.lineno) for part in parts)
            else:
                yield (module, None, node.lineno)


def line(node, offset):
    return f" (line {node.lineno + offset})"


def input_uses(function):
    """The inputs read by name, or None when any of them may be."""
    parameter = function.args.args[0].arg
    allowed, used = set(), {}
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and is_name(node.value, parameter):
            keys = constants(node.slice)
            if keys is not None and isinstance(node.ctx, ast.Load):
                allowed.add(id(node.value))
                for key in keys:
                    used.setdefault(key, node)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and is_name(node.func.value, parameter)
            and node.args
            and constants(node.args[0]) is not None
        ):
            allowed.add(id(node.func.value))
            for key in constants(node.args[0]):
                used.setdefault(key, None)
    for node in ast.walk(function):
        if is_name(node, parameter) and id(node) not in allowed:
            return None, used
    return set(used), used


def is_name(node, name):
    return isinstance(node, ast.Name) and node.id == name


def constants(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.List) and node.elts:
        parts = [constants(part) for part in node.elts]
        return None if None in parts else [key for part in parts for key in part]
    return None


def keys_of(spec):
    """Every input with the keys under which Feast hands it over: `feature` and `view__feature`."""
    entries = {(entry.get("view"), entry["name"]): entry for entry in reversed(spec["inputs"])}
    spec["inputs"] = list(reversed(entries.values()))
    short = {}
    for entry in spec["inputs"]:
        short[entry["name"]] = short.get(entry["name"], 0) + 1
    inputs = []
    for entry in spec["inputs"]:
        name, view = entry["name"], entry.get("view")
        unique = short[name] == 1
        full = f"{view}__{name}" if view else name
        keys = ([name] if unique else []) + ([full] if view else [])
        inputs.append({**entry, "name": name if unique or not view else full, "keys": keys or [name]})
    return inputs, {name for name, count in short.items() if count > 1}


def called(node):
    """The last part of the name of what is called."""
    return getattr(node.func, "attr", None) or getattr(node.func, "id", "?")


def check_signature(function, refusals):
    arguments = function.args
    if isinstance(function, ast.AsyncFunctionDef):
        refusals.append("it is an async function")
    positional = arguments.posonlyargs + arguments.args
    # Feast hands over the inputs and nothing else.
    needed = len(positional) - len(arguments.defaults) + arguments.kw_defaults.count(None)
    if not positional or needed > 1 or None in arguments.kw_defaults:
        refusals.append(
            "it does not take exactly one argument, the inputs; others need default values"
        )
    arguments.args, arguments.posonlyargs = positional, []
    for node in ast.walk(function):
        if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await)):
            refusals.append("it is a generator or a coroutine")
            break


def check_names(names, refusals):
    modules = set()
    for name in sorted(names):
        if name in NEVER:
            refusals.append(f"it calls {name}(): there is no {NEVER[name]} in the sandbox")
        elif name in GLOBALS:
            modules.add(name)
        elif not hasattr(builtins, name):
            refusals.append(
                f"it uses {name}, which is defined outside of the function: the registry keeps only "
                f"the function's own text. Move {name} into the function"
            )
    return modules


def check_imports(function, refusals, offset):
    needed, aliases = [], {}
    for module, alias, number in imports_of(function):
        root = module.split(".")[0]
        if module in SHIMS:
            needed.append(module)
            if alias:
                aliases[alias] = module
        elif module in STDLIB or root in STDLIB:
            needed.append(module)
        else:
            refusals.append(
                f"it imports {module or 'relatively'} (line {number + offset}), "
                "a package that is not in the sandbox"
            )
    return needed, aliases


def check_attributes(function, spec, aliases, refusals, offset):
    """Operations that the column shim lacks, by name."""
    seen = set()
    columns = {key for entry in spec["inputs"] for key in entry["keys"]} | own_columns(function)
    operations = operations_of(spec["shim"])
    modules = {alias: operations[module] for alias, module in aliases.items()}
    imported = {alias or name for name, alias, _ in imports_of(function)}
    for node in ast.walk(function):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value.id if isinstance(node.value, ast.Name) else None
        if owner in modules:
            bad = node.attr not in modules[owner]
            text = f"{owner}.{node.attr}"
        elif spec["mode"] == "pandas" and owner not in imported:
            known = node.attr in operations["columns"] or node.attr in PLAIN
            bad = not known and node.attr not in columns
            text = f".{node.attr}"
        else:
            continue
        if bad and text not in seen:
            seen.add(text)
            refusals.append(f"it uses {text}{line(node, offset)}, which the column shim does not have")


def own_columns(function):
    """Columns that the function itself makes, which may be read as attributes."""
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            names.update(constants(node.slice) or [])
        elif isinstance(node, ast.Call) and called(node) == "assign":
            names.update(keyword.arg for keyword in node.keywords if keyword.arg)
        elif isinstance(node, ast.Dict):
            names.update(key.value for key in node.keys if isinstance(key, ast.Constant))
    return names


def narrow(function, spec, inputs, ambiguous, refusals, offset):
    used, places = input_uses(function)
    known = {key for entry in inputs for key in entry["keys"]}
    for key, node in sorted(places.items()):
        if key in known or node is None:
            continue
        if key in ambiguous:
            refusals.append(f"it reads {key!r}, which several of its sources have: use view__{key}")
        elif used is not None:
            refusals.append(f"it reads {key!r}{line(node, offset)}, which none of its sources have")
    if used is None:
        # Anything may be read: join keys are left out, as nothing asks for them by name.
        kept = [entry for entry in inputs if not entry.get("join_key") or entry["name"] in places]
    else:
        kept = [
            {**entry, "keys": [key for key in entry["keys"] if key in used]}
            for entry in inputs
            if used.intersection(entry["keys"])
        ]
    if not kept:
        # A signature needs the number of rows from somewhere.
        kept = inputs[:1]
    if not kept:
        refusals.append("it has no inputs")
    return kept


def analyse(spec):
    refusals = []
    if spec["mode"] not in ("python", "pandas"):
        return {"refusals": [f"its mode is {spec['mode']}: python and pandas can be wrapped"]}
    source = textwrap.dedent(spec["source"])
    try:
        function = function_of(source)
    except SyntaxError as error:
        return {"refusals": [f"its source text is not Python: {error.msg} (line {error.lineno})"]}
    except ValueError as error:
        return {"refusals": [str(error)]}
    function.decorator_list = []
    check_signature(function, refusals)
    if refusals:
        return {"refusals": refusals}
    function = Bare().visit(function)
    inputs, ambiguous = keys_of(spec)
    spec = {**spec, "inputs": inputs}
    modules = check_names(free_names(function), refusals)
    needed, aliases = check_imports(function, refusals, 0)
    aliases.update({name: GLOBALS[name] for name in modules})
    check_attributes(function, spec, aliases, refusals, 0)
    kept = narrow(function, spec, inputs, ambiguous, refusals, 0)
    if refusals:
        return {"refusals": refusals}
    spec["tells_time"] = any(
        isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")
        for node in ast.walk(function)
    )
    return {"app": app(spec, source, kept, needed, modules), "inputs": [entry["name"] for entry in kept]}


def app(spec, source, inputs, needed, modules):
    style = "frame" if spec["mode"] == "pandas" else ("rows" if spec["singleton"] else "lists")
    random = any(module in ("random", "uuid") for module in needed)
    clock = spec["tells_time"] or any(module in ("datetime", "time") for module in needed)
    data = {
        "view": spec["view"],
        "version": spec["version"],
        "source": source,
        "style": style,
        "inputs": [{key: entry[key] for key in ("name", "type", "keys")} for entry in inputs],
        "outputs": spec["outputs"],
        "uses_random": random,
        "uses_request": random or clock,
    }
    lines = [
        f'"""The on-demand feature view {spec["view"]}, from the source text in the registry."""',
        "",
        "import galley_view",
    ]
    if modules or any(module in SHIMS for module in needed):
        lines += ["import galley_frame", "", "galley_frame.install()"]
    elif style == "frame":
        lines += ["import galley_frame"]
    # Imports inside of the function find no files later: what they need is loaded now.
    lines += [f"import {module}" for module in sorted(set(needed)) if module not in SHIMS]
    names = ", ".join(f'"{name}": galley_frame.{GLOBALS[name]}' for name in sorted(modules))
    lines += ["", f"SPEC = {data!r}", "", f"Transformer = galley_view.component(SPEC, {{{names}}})", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    json.dump(analyse(json.load(sys.stdin)), sys.stdout)
