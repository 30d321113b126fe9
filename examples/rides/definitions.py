"""A ride-hailing city: the Feast repo that `galley demo` serves.

`data/registry.db` was made from this file by Feast 0.67.0 itself, with the sources below present
as empty Parquet files of the stated columns:

    pip install feast==0.67.0 && cd examples/rides && feast apply

The demo writes the Parquet files (fixed numbers, the same on every machine) and never runs Python.
`event_timestamp` and `created` are timestamp[us, UTC] in every file.

    data/driver_activity.parquet    driver_id int64, acceptance_rate double, trips_today int64, is_online bool,
                                    vehicle string, recent_zones list<string>, last_ping timestamp[us, UTC],
                                    event_timestamp, created
    data/customer_profile.parquet   customer_id string, tier string, rides_total int64, rating double,
                                    favourite_hours list<int64>, member_since timestamp[us, UTC], event_timestamp
    data/pair_history.parquet       customer_id string, driver_id int64, rides_together int64, last_rating double,
                                    event_timestamp
    data/zone_weather.parquet       zone string, degrees double, summary string, measured_at timestamp[us, UTC]
                                    (`degrees` feeds the feature `temperature`)
    data/city_pulse.parquet         active_drivers int64, surge double, event_timestamp
    data/driver_quality.parquet     driver_id int64, conv_rate double, last_event timestamp[us, UTC], event_timestamp
    data/customer_taste.parquet     customer_id string, home_lat double, home_lon double, text string,
                                    user_embedding list<float>, event_timestamp

The on-demand views below are Feast's own, in Python. Galley runs the WebAssembly components that
`spin.toml` binds to them, and never the Python code; both say the same.
"""

import math
from datetime import datetime, timedelta, timezone
from typing import Any

from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    Project,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float32, Float64, Int64, String, UnixTimestamp

project = Project(name="city_rides", description="Drivers and customers of a ride-hailing city")

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
zone = Entity(name="zone", join_keys=["zone"], value_type=ValueType.STRING)

# One push source feeds two views: what drivers send appears in both at once.
driver_pings = PushSource(
    name="driver_pings",
    batch_source=FileSource(
        name="driver_activity_file",
        path="data/driver_activity.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    ),
)
driver_activity = FeatureView(
    name="driver_activity",
    entities=[driver],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="acceptance_rate", dtype=Float64),
        Field(name="trips_today", dtype=Int64),
        Field(name="is_online", dtype=Bool),
        Field(name="vehicle", dtype=String),
        Field(name="recent_zones", dtype=Array(String)),
        Field(name="last_ping", dtype=UnixTimestamp),
    ],
    source=driver_pings,
)
driver_pulse = FeatureView(
    name="driver_pulse",
    entities=[driver],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="trips_today", dtype=Int64),
        Field(name="is_online", dtype=Bool),
    ],
    source=driver_pings,
)

customer_profile = FeatureView(
    name="customer_profile",
    entities=[customer],
    ttl=timedelta(0),
    schema=[
        Field(name="customer_id", dtype=String),
        Field(name="tier", dtype=String),
        Field(name="rides_total", dtype=Int64),
        Field(name="rating", dtype=Float64),
        Field(name="favourite_hours", dtype=Array(Int64)),
        Field(name="member_since", dtype=UnixTimestamp),
    ],
    source=FileSource(
        name="customer_profile_file",
        path="data/customer_profile.parquet",
        timestamp_field="event_timestamp",
    ),
)

# A composite key: one row per customer and driver who rode together.
pair_history = FeatureView(
    name="pair_history",
    entities=[customer, driver],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="customer_id", dtype=String),
        Field(name="driver_id", dtype=Int64),
        Field(name="rides_together", dtype=Int64),
        Field(name="last_rating", dtype=Float64),
    ],
    source=FileSource(
        name="pair_history_file",
        path="data/pair_history.parquet",
        timestamp_field="event_timestamp",
    ),
)

# The file's column names differ from the feature's: Feast's field mapping.
zone_weather = FeatureView(
    name="zone_weather",
    entities=[zone],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="zone", dtype=String),
        Field(name="temperature", dtype=Float64),
        Field(name="summary", dtype=String),
    ],
    source=FileSource(
        name="zone_weather_file",
        path="data/zone_weather.parquet",
        timestamp_field="measured_at",
        field_mapping={"degrees": "temperature"},
    ),
)

# No entity: one row for the whole city.
city_pulse = FeatureView(
    name="city_pulse",
    entities=[],
    ttl=timedelta(0),
    schema=[
        Field(name="active_drivers", dtype=Int64),
        Field(name="surge", dtype=Float64),
    ],
    source=FileSource(
        name="city_pulse_file",
        path="data/city_pulse.parquet",
        timestamp_field="event_timestamp",
    ),
)

# What the transformations below work on.
driver_quality = FeatureView(
    name="driver_quality",
    entities=[driver],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="conv_rate", dtype=Float64),
        Field(name="last_event", dtype=UnixTimestamp),
    ],
    source=FileSource(
        name="driver_quality_file",
        path="data/driver_quality.parquet",
        timestamp_field="event_timestamp",
    ),
)
customer_taste = FeatureView(
    name="customer_taste",
    entities=[customer],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="customer_id", dtype=String),
        Field(name="home_lat", dtype=Float64),
        Field(name="home_lon", dtype=Float64),
        Field(name="text", dtype=String),
        Field(name="user_embedding", dtype=Array(Float32)),
    ],
    source=FileSource(
        name="customer_taste_file",
        path="data/customer_taste.parquet",
        timestamp_field="event_timestamp",
    ),
)

trip = RequestSource(name="trip", schema=[Field(name="distance_km", dtype=Float64)])


# No component is bound to this one: asking for it answers an error that says how to provide it.
@on_demand_feature_view(
    sources=[driver_activity[["acceptance_rate"]], trip],
    mode="python",
    schema=[Field(name="pickup_minutes", dtype=Float64)],
)
def pickup_estimate(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "pickup_minutes": [
            None if rate is None else 2.0 + 1.5 * km / max(rate, 0.1)
            for rate, km in zip(inputs["acceptance_rate"], inputs["distance_km"])
        ]
    }


vals_to_add = RequestSource(
    name="vals_to_add",
    schema=[Field(name="val_to_add", dtype=Int64), Field(name="val_to_add_2", dtype=Int64)],
)
place = RequestSource(
    name="place",
    schema=[Field(name="request_lat", dtype=Float64), Field(name="request_lon", dtype=Float64)],
)
candidate = RequestSource(
    name="candidate", schema=[Field(name="item_embedding", dtype=Array(Float32))]
)


# The classic of Feast's tutorial: a stored rate plus values from the request.
@on_demand_feature_view(
    sources=[driver_quality[["conv_rate"]], vals_to_add],
    mode="python",
    schema=[
        Field(name="conv_rate_plus_val1", dtype=Float64),
        Field(name="conv_rate_plus_val2", dtype=Float64),
    ],
)
def transformed_conv_rate(inputs: dict[str, Any]) -> dict[str, Any]:
    def plus(name: str) -> list[float | None]:
        pairs = zip(inputs["conv_rate"], inputs[name])
        return [None if None in pair else pair[0] + pair[1] for pair in pairs]

    return {"conv_rate_plus_val1": plus("val_to_add"), "conv_rate_plus_val2": plus("val_to_add_2")}


# A stored instant against the time of the request.
@on_demand_feature_view(
    sources=[driver_quality[["last_event"]]],
    mode="python",
    schema=[
        Field(name="seconds_since_last_event", dtype=Float64),
        Field(name="is_active", dtype=Bool),
    ],
)
def time_since_last_event(inputs: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    seconds = [
        None if event is None else max((now - event.astimezone(timezone.utc)).total_seconds(), 0.0)
        for event in inputs["last_event"]
    ]
    return {
        "seconds_since_last_event": seconds,
        "is_active": [since is not None and since <= 86_400.0 for since in seconds],
    }


# Kilometres between a stored place and the one in the request, along a great circle.
@on_demand_feature_view(
    sources=[customer_taste[["home_lat", "home_lon"]], place],
    mode="python",
    schema=[Field(name="distance_km", dtype=Float64), Field(name="is_near", dtype=Bool)],
)
def geo_distance(inputs: dict[str, Any]) -> dict[str, Any]:
    def kilometres(row: tuple[float | None, ...]) -> float | None:
        if None in row:
            return None
        lat, lon, to_lat, to_lon = (math.radians(degrees) for degrees in row)
        chord = math.sin((to_lat - lat) / 2) ** 2
        chord += math.cos(lat) * math.cos(to_lat) * math.sin((to_lon - lon) / 2) ** 2
        return 2.0 * 6371.0088 * math.asin(math.sqrt(min(chord, 1.0)))

    names = ("home_lat", "home_lon", "request_lat", "request_lon")
    distances = [kilometres(row) for row in zip(*(inputs[name] for name in names))]
    return {
        "distance_km": distances,
        "is_near": [None if km is None else km <= 5.0 for km in distances],
    }


# Text as a model wants it: lower case, single spaces, no punctuation.
@on_demand_feature_view(
    sources=[customer_taste[["text"]]],
    mode="python",
    schema=[
        Field(name="normalized", dtype=String),
        Field(name="tokens", dtype=Array(String)),
        Field(name="token_count", dtype=Int64),
    ],
)
def text_normalizer(inputs: dict[str, Any]) -> dict[str, Any]:
    def words(text: str | None) -> list[str] | None:
        if text is None:
            return None
        kept = (c if c.isalnum() or not c.isascii() else " " for c in text)
        return "".join(kept).lower().split()

    tokens = [words(text) for text in inputs["text"]]
    return {
        "normalized": [None if found is None else " ".join(found) for found in tokens],
        "tokens": tokens,
        "token_count": [None if found is None else len(found) for found in tokens],
    }


# How alike a stored embedding and the one in the request are.
@on_demand_feature_view(
    sources=[customer_taste[["user_embedding"]], candidate],
    mode="python",
    schema=[Field(name="dot", dtype=Float64), Field(name="cosine", dtype=Float64)],
)
def embedding_dot(inputs: dict[str, Any]) -> dict[str, Any]:
    def dot(left: list[float], right: list[float]) -> float:
        return sum(float(a) * float(b) for a, b in zip(left, right))

    dots, cosines = [], []
    for user, item in zip(inputs["user_embedding"], inputs["item_embedding"]):
        if user is None or item is None:
            dots.append(None)
            cosines.append(None)
            continue
        norms = math.sqrt(dot(user, user) * dot(item, item))
        dots.append(dot(user, item))
        cosines.append(dots[-1] / norms if norms > 0.0 else None)
    return {"dot": dots, "cosine": cosines}


dispatch = FeatureService(
    name="dispatch",
    features=[
        driver_activity[["acceptance_rate", "trips_today", "is_online"]],
        customer_profile[["tier", "rating"]],
        pair_history,
    ],
)
# The same view twice under two names: send `origin_zone` and `destination_zone`.
route = FeatureService(
    name="route",
    features=[
        zone_weather.with_name("origin").with_join_key_map({"zone": "origin_zone"}),
        zone_weather.with_name("destination").with_join_key_map({"zone": "destination_zone"}),
    ],
)
# Stored features, and what the transformations make of them and of the request.
match = FeatureService(
    name="match",
    features=[
        transformed_conv_rate,
        time_since_last_event,
        geo_distance,
        text_normalizer,
        embedding_dot,
    ],
)
