"""An offline server that means harm: what it answers is named in the file given as its argument."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

TIME = 1_772_323_200_000_000


def weather(rows=5, **other):
    columns = {
        "ts": pa.array(np.full(rows, TIME), type=pa.timestamp("us", tz="UTC")),
        "location_id": pa.array(np.arange(rows), type=pa.int32()),
        "t_c": pa.array(np.full(rows, 1.5), type=pa.float32()),
        "summary": pa.array(["snow"] * rows),
    }
    columns.update(other)
    return pa.table(columns)


def words(rows, size):
    places = pa.array(np.zeros(rows), type=pa.int32())
    return pa.DictionaryArray.from_arrays(places, pa.array(["x" * size]))


def nested(rows, depth):
    column = pa.array(np.zeros(rows))
    for _ in range(depth):
        column = pa.StructArray.from_arrays([column], names=["x"])
    return column


def twice():
    table = weather()
    return table.append_column("summary", table["summary"])


TABLES = {
    "good": weather,
    "compressed": lambda: weather(summary=pa.array(["x" * (1 << 20)] * 5)),
    "nulls": lambda: pa.table({name: pa.nulls(10**9) for name in weather().column_names}),
    "word": lambda: weather(20_000, summary=words(20_000, 1 << 20)),
    "message": lambda: weather(100, summary=pa.array(["x" * (1 << 20)] * 100)),
    "wide": lambda: weather(**{f"x{i}": pa.array(np.zeros(5)) for i in range(5000)}),
    "deep": lambda: weather(x=nested(5, 200)),
    "twice": twice,
    "missing": lambda: weather().drop_columns(["summary"]),
    "times": lambda: weather(ts=pa.array(np.full(5, 2**63 - 1), type=pa.timestamp("us", tz="UTC"))),
    "types": lambda: weather(t_c=pa.array(["warm"] * 5)),
}


class Hostile(fl.FlightServerBase):
    def do_exchange(self, context, descriptor, reader, writer):
        reader.read_all()
        with open(sys.argv[1]) as file:
            kind = file.read()
        table = TABLES[kind]()
        compression = "zstd" if kind == "compressed" else None
        options = pa.ipc.IpcWriteOptions(compression=compression)
        writer.begin(table.schema, options=options)
        writer.write_table(table)


server = Hostile("grpc://127.0.0.1:0")
print(server.port, flush=True)
server.serve()
