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
TRIALS = 30
DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TYPES = {
    "a": "float64", "b": "float64", "i": "int64", "z": "int64", "n": "int64", "s": "string",
    "d": "string", "bn": "bool", "t": "timestamp", "u": "timestamp",
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
    'df["a"].map(lambda v: v*2)',
    'df["n"].map(lambda v: 0 if v != v else v)',
    'df["i"].map(lambda v: None if v > 1 else v)',
    'df["i"].map(lambda v: None if v > 1 else "low")',
    'df["s"].map(len, na_action="ignore")',
    'df["s"].map(lambda v: "?" if v is None else v[::-1])',
    'df["i"].map(lambda v: v > 1)',
    'df["a"].apply(lambda v, low: max(v, low), args=(0.5,))',
    'df["a"].apply(lambda v, low: max(v, low), low=0.5)',
    'df["i"].apply(str)',
    'df.apply(lambda row: row["i"] if row["a"] > 0 else -1, axis=1)',
    'df.apply(lambda row: str(row["i"]) + (row.s or "?"), axis=1)',
    'df[["a","i"]].apply(lambda row: str(row["i"]), axis=1)',
    'df.apply(lambda row: row.get("nope", 1.5), axis=1)',
    'df["a"]*(df["a"]>0).any()',
    'df["i"]*(df["i"]>-3).all()',
    'df["bn"].any()*df["i"]',
    '[value for value in df["i"].tolist()]',
    'df["a"].values+1',
    'df["a"].to_numpy()*df["i"].values',
    'df["i"][0]+df["a"]',
    '(lambda c: (c.__setitem__(c > 0, 0), c)[1])(df["a"].copy())',
    '(lambda c: (c.__setitem__(c > 1, 0.5), c)[1])(df["i"].copy())',
    '(lambda c: (c.__setitem__(c > 1, -c), c)[1])(df["i"].copy())',
    '(lambda c: (c.loc.__setitem__(c.isna(), "none"), c)[1])(df["s"].copy())',
    '(lambda d: (d.loc.__setitem__((d["a"] > 0, "i"), 0), d["i"])[1])(df.copy())',
    '(lambda d: (d.loc.__setitem__((d["a"] > 0, "new"), 1.5), d["new"])[1])(df.copy())',
    '(lambda d: (d.loc.__setitem__((d["i"] > 1, "new"), d["a"]), d["new"])[1])(df.copy())',
    '(lambda d: (d.loc.__setitem__((d["i"] > 1, "new"), "high"), d["new"])[1])(df.copy())',
    '(lambda d: (d.loc.__setitem__((slice(None), "new"), 2), d["new"])[1])(df.copy())',
    'df["t"].dt.year',
    'df["t"].dt.month+df["t"].dt.day',
    'df["t"].dt.hour.fillna(-1)',
    'df["t"].dt.dayofweek',
    'df["t"].dt.weekday>2',
    'df["t"].dt.dayofyear',
    'df["t"].dt.quarter',
    'df["t"].dt.normalize()==df["t"]',
    'df["t"].dt.strftime("%Y-%m-%d")',
    '(df["t"]-df["u"]).dt.total_seconds()',
    '(df["t"]-df["u"]).dt.days',
    '(df["t"]-pd.Timestamp("2025-12-30", tz="UTC")).dt.total_seconds()/3600',
    '(pd.Timestamp("2026-03-01T10:00:00Z")-df["t"]).dt.days',
    '(df["t"]-df["u"])/pd.Timedelta(hours=1)',
    '(df["t"]-df["u"])>pd.Timedelta("12h")',
    '(df["t"]+pd.Timedelta(1, unit="D")).dt.day',
    'df["t"]>pd.to_datetime("2026-01-01T12:00:00Z")',
    'pd.to_datetime(df["i"], unit="D", utc=True).dt.day',
    'np.select([df["a"]>0, df["i"]>1], [1, 2], default=0)',
    'np.select([df["a"]>0, df["i"]>1], ["up", "big"], default="none")',
    'np.select([df["a"]>0], [df["a"]], default=-1.0)',
    'np.sign(df["a"])',
    'np.sign(df["i"])',
    'np.square(df["i"])',
    'np.power(df["a"], 2)',
    'np.isfinite(df["a"])',
    'np.isinf(df["a"])',
    'np.logical_and(df["a"]>0, df["i"]>1)',
    'np.logical_or(df["a"]>0, df["i"]>1)',
    'np.logical_not(df["a"]>0)',
    'pd.to_numeric(df["s"], errors="coerce")',
    'pd.to_numeric(df["d"], errors="coerce")',
    'pd.to_numeric(df["d"])',
    '(df["a"]*1e300).round(2)',
    'df["a"].add(df["i"])',
    'df["a"].add(df["b"], fill_value=1)',
    'df["n"].sub(2, fill_value=0.5)',
    'df["a"].mul(df["b"], fill_value=0)',
    'df["i"].div(df["z"])',
    'df["a"].truediv(df["i"])',
    'df["i"].floordiv(2).add(df["i"].mod(3))',
    'df["i"].pow(2)',
    'df["a"].gt(0) | df["a"].le(df["b"])',
    'df["i"].eq(1) | df["i"].ge(4)',
    'df["s"].ne("x") & df["i"].lt(2)',
    'df[["a","b"]].sum(axis=1)',
    'df[["i","z"]].sum(axis=1)',
    'df[["a","i"]].mean(axis=1)',
    'df[["i","z"]].mean(axis=1)',
    'df[["a","b","i"]].min(axis=1)',
    'df[["i","z"]].max(axis="columns")',
    'df[["a","n"]].max(axis=1)',
    'pd.DataFrame({"p": df["a"]>0, "q": df["i"]>1}).any(axis=1)',
    'pd.DataFrame({"p": df["a"]>0, "q": df["i"]>1}).all(axis=1)',
    'np.arcsin(df["a"])',
    'np.arccos(df["i"])',
    'np.arctan(df["a"])+np.tan(df["i"])',
    'np.sinh(df["a"])',
    'np.cosh(df["a"])',
    'np.radians(df["a"])-np.deg2rad(df["i"])',
    'np.degrees(df["i"])+np.rad2deg(df["b"])',
    'np.cbrt(df["a"])',
    'np.exp2(df["i"])',
    'np.trunc(df["a"])',
    'np.arctan2(df["a"], df["b"])',
    'np.arctan2(df["i"], 2)',
    'np.arctan2(1.5, df["a"])',
    'np.hypot(df["a"], df["i"])',
    '2*np.arcsin(np.sqrt(np.sin(np.radians(df["i"])/2)**2+np.cos(np.radians(df["z"]))**2))',
    'np.add(df["a"], 1)+np.subtract(2, df["i"])',
    'np.multiply(df["a"], df["b"])-np.divide(df["a"], 3)',
    'np.true_divide(df["i"], df["z"])',
    'np.floor_divide(df["i"], 2)+np.mod(df["i"], 3)+np.remainder(df["i"], 4)',
    'np.negative(df["a"])',
    'np.nan_to_num(df["a"])',
    'np.nan_to_num(df["n"], nan=-1.0)',
    'np.nan_to_num(df["i"])',
    'df["s"].str.count("x")',
    'df["s"].str.match("x|a")',
    'df["s"].str.fullmatch("X", case=False)',
    'df["s"].str.pad(4)+df["s"].str.pad(4, side="right", fillchar=".")',
    'df["s"].str.pad(5, side="both", fillchar="-")',
    'df["s"].str.split("x").str[0]',
    'df["s"].str.split().str.len()',
    'df["s"].str.split("c x").str.get(1)',
    'df["s"].str.split("[xy]", regex=True).str[-1]',
    'df["s"].str.split(__import__("re").compile("[xy]")).str[0]',
    'df["s"].str.split("x", n=1).str[-1]',
    'df["s"].str.split("b", regex=False).str[0]',
    'df["s"].str.rsplit(" ", n=1).str[0]',
    'df["s"].str.cat(df["d"], sep="-")',
    'df["s"].str.cat(df["d"], na_rep="?")',
    'df["s"].str.get(0)',
    'df["s"].str.find("x")',
    'df["s"].str.rfind("x")',
    'df["s"].str.swapcase()+df["s"].str.casefold()',
    'df["s"].str.ljust(3)+df["s"].str.rjust(3, "0")+df["s"].str.center(4, "*")',
    'df["s"].str.removeprefix("x")+df["s"].str.removesuffix("x")',
    'df["s"].str.isalpha()',
    'df["d"].str.isdigit()',
    'df["d"].str.isnumeric()',
    'df["d"].str.isdecimal()',
    'df["s"].str.isalnum()',
    'df["s"].str.islower()',
    'df["s"].str.isupper()',
    'df["s"].str.isspace()',
    'df["s"].str.istitle()',
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
        "d": lambda: dice.choice([None, "1", " -2 ", "0.5", "1e3", "1_0", "x", ""]),
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
