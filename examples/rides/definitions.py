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
"""

from datetime import timedelta
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
from feast.types import Array, Bool, Float64, Int64, String, UnixTimestamp

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

trip = RequestSource(name="trip", schema=[Field(name="distance_km", dtype=Float64)])


# Python never runs in the server: until a WebAssembly component takes its place, asking for this
# view answers an error that says so.
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
