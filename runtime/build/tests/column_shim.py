"""Holds the column shim against pandas and numpy themselves, on random rows with nulls.

Needs pandas (it was written against 2.3): python3 runtime/build/tests/column_shim.py
"""

import math
import random
import sys
import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "assets" / "python"))
sys.dont_write_bytecode = True

import galley_frame as shim
import numpy as np
import pandas as pd

SEED = 4
TRIALS = 100
DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TYPES = {
    "a": "float64", "b": "float64", "i": "int64", "z": "int64", "n": "int64", "s": "string",
    "bn": "bool", "t": "timestamp", "u": "timestamp",
}
EXPRESSIONS = [
    'df["a"]+df["i"]',
    'df["a"]-1',
    '1-df["a"]',
    'df["a"]*df["b"]',
    'df["a"]/df["b"]',
    'df["i"]/df["z"]',
    'df["i"]//3',
    'df["i"]%3',
    'df["a"]//df["b"]',
    'df["a"]%df["b"]',
    'df["i"]**2',
    'df["a"]**2',
    'df["a"]**0.5',
    '-df["a"]',
    '2**df["i"].abs()',
    '10/df["i"]',
    'df["n"]+1',
    'df["n"]*df["a"]',
    'df["a"]>0',
    'df["a"]<df["b"]',
    'df["i"]>=2',
    'df["i"]==1',
    'df["a"]!=df["b"]',
    'df["s"]=="x"',
    'df["s"]!="x"',
    'df["n"]>1',
    'df["n"]==1',
    '(df["a"]>0)&(df["i"]>1)',
    '(df["a"]>0)|(df["i"]>1)',
    '~(df["a"]>0)',
    '(df["a"]>0)^(df["i"]>1)',
    'df["a"].fillna(0)',
    'df["n"].fillna(0)',
    'df["s"].fillna("none")',
    'df["n"].fillna(1.5)',
    'df["a"].fillna(df["b"])',
    'df["bn"].fillna(False)',
    'df["a"].where(df["a"]>0, 0)',
    'df["a"].where(df["a"]>0)',
    'df["i"].where(df["i"]>1, -1)',
    'df["i"].mask(df["i"]>1)',
    'df["i"].mask(df["i"]>1, 0)',
    'df["s"].where(df["i"]>1,"z")',
    'df["a"].clip(0,1)',
    'df["i"].clip(lower=1)',
    'df["a"].clip(upper=0.5)',
    'df["i"].clip(0,2)',
    'df["i"].astype(float)',
    'df["i"].astype(str)',
    'df["a"].fillna(0).astype(int)',
    'df["i"].astype(bool)',
    '(df["a"]>0).astype(int)',
    'df["i"].astype("float64")',
    '(df["a"]>0).astype("int64")',
    'df["a"].astype("float32")',
    'df["a"].astype(str)',
    '(df["a"]>0).astype(float)',
    'df["a"].abs()',
    'df["i"].abs()',
    'df["a"].round(1)',
    'df["a"].round()',
    'df["i"].round()',
    'df["a"].isna()',
    'df["s"].isna()',
    'df["n"].notna()',
    'df["bn"].isna()',
    'df["s"].str.lower()',
    'df["s"].str.upper()',
    'df["s"].str.strip()',
    'df["s"].str.contains("x")',
    'df["s"].str.contains("x", na=False)',
    'df["s"].str.replace("x","y")',
    'df["s"].str.len()',
    'df["s"].str.startswith("x")',
    'df["s"].str.endswith("x")',
    'df["s"].str.contains("X", case=False)',
    'df["s"].str[0]',
    'df["s"].str[:2]',
    'df["s"].str.title()',
    'np.where(df["a"]>0, 1, 0)',
    'np.where(df["a"]>0, df["a"], 0)',
    'np.where(df["i"]>1, "hi", "lo")',
    'np.where(df["a"]>0, df["i"], 0.5)',
    'np.where(df["s"]=="x", df["i"], df["a"])',
    'np.log(df["a"])',
    'np.log1p(df["a"])',
    'np.sqrt(df["a"])',
    'np.exp(df["a"])',
    'np.abs(df["a"])',
    'np.minimum(df["a"],0)',
    'np.maximum(df["a"],df["b"])',
    'np.log(df["i"])',
    'np.sqrt(df["z"])',
    'np.minimum(df["i"],2)',
    'np.floor(df["a"])',
    'np.ceil(df["a"])',
    'df["s"]+"_t"',
    '"p_"+df["s"]',
    'df["s"]+df["s"]',
    'df["i"].isin([1,2])',
    'df["s"].isin(["x"])',
    'df["a"].between(0,1)',
    'df["s"].map({"x":1.0})',
    'df["s"].map({"x":1,"xy":2})',
    'df["i"].replace({1:5})',
    'df["b"]*(df["i"]>1)',
    '(df["i"]>1)+1',
    '(df["i"]>1)*1.5',
    'df["t"].isna()',
    'df["t"]>df["u"]',
    'df["t"]==df["u"]',
    'df["bn"]==True',
    '(df["i"]>1)+(df["i"]>2)',
    'df["a"].replace(np.inf, 0)',
    '(df["a"]/df["z"]).replace([np.inf,-np.inf], 0)',
    'pd.isna(df["a"])',
    'df["a"].fillna(0).round(2)',
    'df["i"]*df["s"].str.len()',
    'df["n"].astype(float)',
    'df["n"].fillna(0).astype(int)',
]


def rows(dice, count):
    numbers = [None, 0.0, -1.5, 2.25, 0.5, 1e9, -0.0, math.inf]
    choices = {
        "a": lambda: dice.choice([*numbers, dice.uniform(-3, 3)]),
        "b": lambda: dice.choice([*numbers, dice.uniform(-3, 3)]),
        "i": lambda: dice.randint(-3, 5),
        "z": lambda: dice.choice([0, 1, -2]),
        "n": lambda: dice.choice([None, 1, 2, -7]),
        "s": lambda: dice.choice([None, "x", "xy", " X ", "", "abc x"]),
        "bn": lambda: dice.choice([None, True, False]),
        "t": lambda: dice.choice([None, START, START + DAY]),
        "u": lambda: dice.choice([None, START]),
    }
    return {name: [choose() for _ in range(count)] for name, choose in choices.items()}


def as_pandas(data):
    """As Feast hands rows to a pandas-mode view."""
    frame = pd.DataFrame(data)
    for name in "ab":
        frame[name] = pd.Series([np.nan if each is None else each for each in data[name]], dtype=float)
    for name in "tu":
        frame[name] = pd.to_datetime(pd.Series(data[name], dtype="object"), utc=True)
    return frame


def plain(value):
    if value is None or value is pd.NaT:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(value)
    return str(value) if isinstance(value, np.str_) else value


def evaluate(expression, names, frame, modules):
    """The values of a column made by `expression`, or the exception."""
    try:
        answer = frame()
        answer["out"] = eval(expression, {"df": names, **modules})
        values = answer["out"]
        values = values.tolist() if hasattr(values, "iloc") else list(values)
        return [plain(value) for value in values]
    except Exception as error:
        return error


def same(one, two):
    if isinstance(one, Exception) or isinstance(two, Exception):
        return isinstance(one, Exception) and isinstance(two, Exception)
    return len(one) == len(two) and all(map(equal, one, two))


def equal(one, two):
    if one is None or two is None:
        return one is two
    if isinstance(one, float) and isinstance(two, float) and math.isfinite(one):
        return abs(one - two) <= 1e-12 * abs(two)
    return one == two and isinstance(one, bool) == isinstance(two, bool)


def main():
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    dice, differences, compared = random.Random(SEED), {}, 0
    for _ in range(TRIALS):
        data = rows(dice, dice.choice([1, 1, 2, 4, 6]))
        count = len(data["a"])
        for expression in EXPRESSIONS:
            frame = as_pandas(data)
            index = frame.index
            theirs = evaluate(expression, frame, lambda: pd.DataFrame(index=index), {"np": np, "pd": pd})
            ours = shim.from_columns({name: list(column) for name, column in data.items()}, TYPES, count)
            ours = evaluate(
                expression, ours, shim.DataFrame, {"np": shim.numpy, "pd": shim.pandas}
            )
            compared += 1
            if not same(ours, theirs):
                differences.setdefault(expression, (data, theirs, ours))
    print(f"{compared} comparisons of {len(EXPRESSIONS)} expressions, {len(differences)} differ")
    for expression, (data, theirs, ours) in differences.items():
        used = {name: column for name, column in data.items() if f'"{name}"' in expression}
        print(f"{expression}\n  rows   {used}\n  pandas {theirs!r}\n  shim   {ours!r}")
    return bool(differences)


if __name__ == "__main__":
    sys.exit(main())
