"""Golden rows from random ones, answered by the function as plain CPython runs it.

golden_rows.py wrapped APP SEED COUNT    the registry's own text in a project that was wrapped
golden_rows.py plain APP SEED COUNT      a project written by hand; the runtime is on PYTHONPATH
"""

import ast
import importlib.util
import json
import math
import random
import struct
import sys

# Letters whose cases are the same in every version of Unicode.
ALPHABET = "abcXYZ  019--_,.!?\t\u00e9\u00c9\u0142\u0141\u03c3\u03a3\u0436\u0416\u6f22\U0001f600"


def single(number):
    return struct.unpack("f", struct.pack("f", number))[0]


def value(tag, chance):
    if chance.random() < 0.15:
        return None
    if tag == "int64":
        return chance.choice([0, 1, -1, 2**31, chance.randrange(-(10**6), 10**6)])
    if tag in ("float64", "float32"):
        number = chance.choice([0.0, -0.0, 1.0, 0.1, chance.gauss(0, 1000), chance.random()])
        return single(number) if tag == "float32" else number
    if tag == "bool":
        return chance.random() < 0.5
    if tag == "string":
        return "".join(chance.choice(ALPHABET) for _ in range(chance.randrange(12)))
    raise SystemExit(f"no random values of type {tag}")


def shown(value):
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


def wrapped(path):
    """Inputs, and the function of one row."""
    tree = ast.parse(open(path).read())
    assigned = (node for node in tree.body if isinstance(node, ast.Assign))
    spec = ast.literal_eval(next(node.value for node in assigned if node.targets[0].id == "SPEC"))
    function = next(node for node in ast.parse(spec["source"]).body if isinstance(node, ast.FunctionDef))
    function.decorator_list = []
    import __future__

    module = ast.Module([function], [])
    flags = __future__.annotations.compiler_flag
    space = {}
    exec(compile(module, path, "exec", flags=flags, dont_inherit=True), space)
    call, outputs = space[function.name], [entry["name"] for entry in spec["outputs"]]

    def row(inputs):
        keyed = {key: inputs[entry["name"]] for entry in spec["inputs"] for key in entry["keys"]}
        if spec["style"] == "rows":
            answer = call(keyed)
            return {name: answer[name] for name in outputs}
        answer = call({key: [value] for key, value in keyed.items()})
        return {name: answer[name][0] for name in outputs}

    return {entry["name"]: entry["type"] for entry in spec["inputs"]}, row


def plain(path):
    import galley_transform

    spec = importlib.util.spec_from_file_location("app", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    call, _, _, outputs, *_ = galley_transform._registered[0]
    tags = {float: "float64", int: "int64", str: "string", bool: "bool"}
    hints = {name: tags[hint] for name, hint in call.__annotations__.items()}

    def row(inputs):
        # Nulls never reach such a function.
        if any(value is None for value in inputs.values()):
            return {name: None for name in outputs}
        return call(**inputs)

    return hints, row


def main(kind, path, seed, count):
    inputs, function = {"wrapped": wrapped, "plain": plain}[kind](path)
    chance = random.Random(int(seed))
    for _ in range(int(count)):
        row = {name: value(tag, chance) for name, tag in inputs.items()}
        try:
            golden = {"input": row, "expected": {name: shown(value) for name, value in function(row).items()}}
        except Exception:
            golden = {"input": row, "rejected": ""}
        print(json.dumps(golden))


main(*sys.argv[1:])
