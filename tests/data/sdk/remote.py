"""The unmodified Feast SDK with `online_store: {type: remote}` against a running server.

usage: remote.py REPO_DIR   (its feature_store.yaml points at the server)

Every check asserts; the last line printed is `remote sdk: all checks passed`.
"""

import datetime as dt
import sys
import warnings

warnings.filterwarnings("ignore")

import pandas as pd
from feast import FeatureStore
from feast.errors import FeatureViewNotFoundException
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

UTC = dt.timezone.utc
store = FeatureStore(repo_path=sys.argv[1])
assert store.config.online_store.type == "remote", store.config.online_store


def read(features, rows, **options):
    return store.get_online_features(features=features, entity_rows=rows, **options)


def statuses(response, name):
    at = list(response.proto.metadata.feature_names.val).index(name)
    return [FieldStatus.Name(s) for s in response.proto.results[at].statuses]


def same(got, want, what):
    assert got == want, f"{what}: want {want!r}, got {got!r}"


def raises(kind, what, call):
    try:
        call()
    except kind:
        return
    except Exception as error:  # noqa: BLE001
        raise AssertionError(f"{what}: want {kind.__name__}, got {type(error).__name__}: {error}") from error
    raise AssertionError(f"{what}: want {kind.__name__}, got an answer")


# Reads: references, several views, composite keys, services, full names.
answer = read(["driver_trips_fresh:avg_daily_trips"], [{"driver_id": 1001}, {"driver_id": 9}])
same(answer.to_dict(), {"driver_id": [1001, 9], "avg_daily_trips": [777, None]}, "references")
same(statuses(answer, "avg_daily_trips"), ["PRESENT", "NOT_FOUND"], "statuses")
answer = read(["customer_profile:tier", "customer_profile:balance"], [{"customer_id": "C001"}], full_feature_names=True)
same(answer.to_dict()["customer_profile__tier"], ["gold"], "full names")
same(answer.to_dict()["customer_profile__balance"], [10.5], "full names")
answer = read(["trip_pair_stats:n_trips"], [{"driver_id": 1001, "customer_id": "C001"}])
same(statuses(answer, "n_trips"), ["PRESENT"], "composite key")
service = store.get_feature_service("customer_all")
answer = read(service, [{"customer_id": "C003", "driver_id": 1002}])
same(answer.to_dict()["tier"], ["silver"], "feature service")

# A row older than its view's time to live is withheld, and says so.
answer = read(["driver_hourly_stats:conv_rate"], [{"driver_id": 1003}])
same(answer.to_dict()["conv_rate"], [None], "expired value")
same(statuses(answer, "conv_rate"), ["OUTSIDE_MAX_AGE"], "expired status")

# Feast's own exceptions come back as themselves.
raises(FeatureViewNotFoundException, "unknown view", lambda: read(["nope:x"], [{"driver_id": 1}]))
raises(Exception, "unknown feature", lambda: read(["customer_profile:nope"], [{"customer_id": "C001"}]))
# For materialisations the SDK raises its own RuntimeError around the server's text.
raises(
    RuntimeError,
    "materialize an unknown view",
    lambda: store.materialize(dt.datetime(2026, 1, 1), dt.datetime(2026, 6, 1), feature_views=["nope"]),
)

# A write to one view, read back.
now = pd.Timestamp.now(tz="UTC").floor("s")
frame = pd.DataFrame(
    {
        "driver_id": [3001, 3002],
        "event_timestamp": [now, now - pd.Timedelta(seconds=1)],
        "created": [now, now],
        "conv_rate": [0.5, None],
        "acc_rate": [0.25, 0.5],
        "avg_daily_trips": [1, 2],
    }
)
store.write_to_online_store("driver_hourly_stats", frame)
answer = read(
    ["driver_hourly_stats:conv_rate", "driver_hourly_stats:avg_daily_trips"], [{"driver_id": 3001}, {"driver_id": 3002}]
)
same(answer.to_dict()["conv_rate"], [0.5, None], "written floats")
same(answer.to_dict()["avg_daily_trips"], [1, 2], "written integers")
same(statuses(answer, "conv_rate"), ["PRESENT", "NULL_VALUE"], "a null is a null")

# The same with a composite key.
pairs = pd.DataFrame(
    {
        "driver_id": [7],
        "customer_id": ["new"],
        "event_timestamp": [now],
        "n_trips": [3],
        "avg_rating": [4.5],
    }
)
store.write_to_online_store("trip_pair_stats", pairs)
answer = read(["trip_pair_stats:n_trips", "trip_pair_stats:avg_rating"], [{"driver_id": 7, "customer_id": "new"}])
same(answer.to_dict(), {"driver_id": [7], "customer_id": ["new"], "n_trips": [3], "avg_rating": [4.5]}, "composite write")

# A view whose timestamp column has a name of its own: the SDK always sends `event_timestamp`.
weather = pd.DataFrame({"location_id": [77], "ts": [now], "temperature": [1.5], "summary": ["x"]})
store.write_to_online_store("location_weather", weather)
answer = read(["location_weather:temperature"], [{"location_id": 77}])
same(answer.to_dict()["temperature"], [1.5], "timestamp column of another name")

# All value types the SDK can send.
types = pd.DataFrame(
    {
        "device_id": ["z"],
        "event_timestamp": [now],
        "f_bytes": [None],
        "f_string": ["s"],
        "f_int32": [1],
        "f_int64": [2**53 + 1],
        "f_float32": [0.5],
        "f_float64": [0.1],
        "f_bool": [True],
        "f_ts": [pd.Timestamp("2026-04-01T00:00:00Z")],
        "f_uuid": ["00000000-0000-0000-0000-00000000000a"],
        "f_json": ['{"a":1}'],
        "l_bytes": [None],
        "l_string": [["a"]],
        "l_int32": [[1]],
        "l_int64": [[1]],
        "l_float32": [[0.5]],
        "l_float64": [[0.5]],
        "l_bool": [[True]],
        "l_ts": [[pd.Timestamp("2026-04-01T00:00:00Z")]],
    }
)
store.write_to_online_store("device_types", types)
columns = ["f_string", "f_int64", "f_float64", "f_bool", "f_ts", "f_json", "l_string", "l_int64", "l_bool"]
answer = read([f"device_types:{c}" for c in columns], [{"device_id": "z"}]).to_dict()
want = {
    "f_string": "s",
    "f_int64": 2**53 + 1,
    "f_float64": 0.1,
    "f_bool": True,
    "f_ts": 1775001600,
    "f_json": '{"a":1}',
    "l_string": ["a"],
    "l_int64": [1],
    "l_bool": [True],
}
for name, value in want.items():
    same(answer[name], [value], name)

# Materialisation is handed to the server.
same(read(["zone_events:n_events"], [{"zone_id": 10}]).to_dict()["n_events"], [None], "before materialisation")
store.materialize(dt.datetime(2010, 1, 1), dt.datetime(2026, 6, 1, tzinfo=UTC), feature_views=["zone_events"])
same(
    read(["zone_events:n_events"], [{"zone_id": 20}, {"zone_id": 10}, {"zone_id": 40}]).to_dict()["n_events"],
    [2, 1, None],
    "materialised window",
)
store.materialize_incremental(dt.datetime(2026, 6, 3, tzinfo=UTC), feature_views=["zone_events"])

print("remote sdk: all checks passed")
