"""One on-demand view for each guest that misbehaves, and a stored one that is served meanwhile.

Feast 0.67.0 made registry.pb from it (feast apply). The functions stand for the components, which
are what misbehaves.
"""

from datetime import timedelta
from typing import Any

from feast import Entity, FeatureView, Field, FileSource, Project, PushSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float64, Int64, String

project = Project(name="hostile")
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
calm = FeatureView(
    name="calm",
    entities=[item],
    ttl=timedelta(days=36500),
    schema=[Field(name="item_id", dtype=Int64), Field(name="x", dtype=Int64)],
    source=PushSource(
        name="items",
        batch_source=FileSource(name="items_file", path="data/items.parquet", timestamp_field="event_timestamp"),
    ),
)
request = RequestSource(name="request", schema=[Field(name="value", dtype=Int64)])

GUESTS = """
cpu_apply cpu_describe cpu_log cpu_post_return cpu_realloc cpu_realloc_first err_blames_host err_control err_huge
import_foreign iso_counter iso_remember mem_leak mem_many mem_one ret_boolean ret_columns ret_form ret_huge
ret_huge_text ret_kind ret_nan ret_no_columns ret_offsets_fall ret_offsets_few ret_offsets_past ret_rows ret_short
ret_utf8 ret_utf8_split ret_validity sig_asks sig_control sig_huge sig_long_name sig_trap sig_twice stack trap
trap_once trap_panic trap_pointer wat_tables wat_start wat_aliased wat_bomb
""".split()
STRINGS = {"ret_huge_text", "ret_offsets_fall", "ret_offsets_few", "ret_offsets_past", "ret_utf8", "ret_utf8_split"}


def dtype(name: str):
    if name in STRINGS:
        return String
    return {"ret_boolean": Bool, "ret_nan": Float64}.get(name, Int64)


def give(value: Any):
    def guest(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"value": [value for _ in inputs["value"]]}

    return guest


for name in GUESTS:
    value = {String: "", Bool: False, Float64: 0.0}.get(dtype(name), 0)
    function = give(value)
    function.__name__ = name
    globals()[name] = on_demand_feature_view(
        name=name, sources=[request], mode="python", schema=[Field(name="value", dtype=dtype(name))]
    )(function)
