"""The repo the benchmarks serve; Feast 0.67.0 made registry.db from it (feast apply).

Five views of ten doubles over one int64 key, and one view fed by a push source.
"""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, PushSource, ValueType
from feast.types import Float64, Int64

project = Project(name="bench")
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
TTL = timedelta(days=36500)


def schema(prefix):
    return [Field(name="user_id", dtype=Int64)] + [Field(name=f"{prefix}{f}", dtype=Float64) for f in range(10)]


def file(name, path):
    return FileSource(name=name, path=path, timestamp_field="event_timestamp", created_timestamp_column="created")


views = []
for v in range(5):
    fv = FeatureView(
        name=f"fv_{v}", entities=[user], ttl=TTL, schema=schema(f"f{v}_"), source=file(f"src_{v}", f"data/fv_{v}.parquet")
    )
    globals()[f"fv_{v}"] = fv
    views.append(fv)

push_source = PushSource(name="push_src", batch_source=file("push_batch", "data/push.parquet"))
push_fv = FeatureView(name="push_fv", entities=[user], ttl=TTL, schema=schema("p"), source=push_source)

svc_w1 = FeatureService(name="svc_w1", features=[views[0]])
svc_w2 = FeatureService(name="svc_w2", features=views)
