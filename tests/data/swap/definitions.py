"""Two versions of one small repo; Feast 0.67.0 made a.pb and b.pb from it (GENERATION=a|b feast apply).

Every name the service `pair` answers with tells the version: `a` serves left_a/right_a with x and y,
`b` serves left_b/right_b with x and z. An answer that holds names of both is a mix of two registries.
"""

import os
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, PushSource, ValueType
from feast.types import Int64

GENERATION = os.environ["GENERATION"]
EXTRA = {"a": "y", "b": "z"}[GENERATION]

project = Project(name="swap")
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
source = PushSource(
    name="items",
    batch_source=FileSource(name="items_file", path="data/items.parquet", timestamp_field="event_timestamp"),
)


def view(name):
    return FeatureView(
        name=name,
        entities=[item],
        ttl=timedelta(0),
        schema=[Field(name="item_id", dtype=Int64), Field(name="x", dtype=Int64), Field(name=EXTRA, dtype=Int64)],
        source=source,
    )


left = view("left")
right = view("right")
pair = FeatureService(
    name="pair",
    features=[left.with_name(f"left_{GENERATION}"), right.with_name(f"right_{GENERATION}")],
)
