"""The repo for look-ups with a transformation; Feast 0.67.0 made registry.db from it (feast apply).

One view of ten doubles over one int64 key, and an on-demand view over three of them and the request.
"""

from datetime import timedelta
from typing import Any

from feast import Entity, FeatureView, Field, FileSource, Project, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

project = Project(name="bench")
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
# The first three columns have the names that the component takes.
named = {"f0_0": "base_fare", "f0_1": "fare_by_km", "f0_2": "surge"}
features = [*named.values(), *(f"f0_{f}" for f in range(3, 10))]
fv_0 = FeatureView(
    name="fv_0",
    entities=[user],
    ttl=timedelta(days=36500),
    schema=[Field(name="user_id", dtype=Int64), *(Field(name=name, dtype=Float64) for name in features)],
    source=FileSource(
        name="src_0",
        path="data/fv_0.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        field_mapping=named,
    ),
)
ride = RequestSource(
    name="ride", schema=[Field(name="distance_m", dtype=Int64), Field(name="wait_seconds", dtype=Int64)]
)


@on_demand_feature_view(
    sources=[fv_0[["base_fare", "fare_by_km", "surge"]], ride],
    mode="python",
    schema=[Field(name="fare", dtype=Float64), Field(name="fare_per_km", dtype=Float64)],
)
def fare_quote(inputs: dict[str, Any]) -> dict[str, Any]:
    names = ("base_fare", "fare_by_km", "surge", "distance_m", "wait_seconds")
    quotes = []
    for base, by_km, surge, metres, wait in zip(*(inputs[name] for name in names)):
        km = max(metres / 1000.0, 1.0)
        quotes.append(((base + by_km * km + wait * 0.01) * surge, km))
    return {"fare": [fare for fare, _ in quotes], "fare_per_km": [fare / km for fare, km in quotes]}
