"""What `kinds.registry.pb` was applied from, with Feast 0.67 (project `exo`, local provider)."""
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, KafkaSource, PushSource, ValueType
from feast.data_format import DeltaFormat, JsonFormat
from feast.infra.offline_stores.bigquery_source import BigQuerySource
from feast.permissions.action import AuthzedAction
from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
from feast.types import Array, Bool, Float64, ImageBytes, Int64, PdfBytes, String

user = Entity(name="user", join_keys=["user_id"])
flag = Entity(name="flag", join_keys=["flag"], value_type=ValueType.BOOL)
delta = FileSource(name="dl", path="data/x", file_format=DeltaFormat(), timestamp_field="ts", created_timestamp_column="cr")
bigquery = BigQuerySource(name="bq", table="a.b.c", timestamp_field="ts")
kafka = KafkaSource(name="kk", kafka_bootstrap_servers="x:1", topic="t", timestamp_field="ts", batch_source=delta, message_format=JsonFormat(schema_json="a int"))
push = PushSource(name="ps_nobatch", batch_source=delta)

delta_v = FeatureView(name="delta_v", entities=[user], source=delta, ttl=timedelta(hours=1), version="v1",
    schema=[Field(name="user_id", dtype=String), Field(name="x", dtype=Int64), Field(name="pdf", dtype=PdfBytes), Field(name="img", dtype=ImageBytes)])
bq_v = FeatureView(name="bq_v", entities=[user], source=bigquery, schema=[Field(name="user_id", dtype=String), Field(name="y", dtype=Float64)])
kafka_v = FeatureView(name="kafka_v", entities=[user], source=kafka, schema=[Field(name="user_id", dtype=String), Field(name="z", dtype=Array(Array(Int64)))])
flag_v = FeatureView(name="flag_v", entities=[flag], source=delta, schema=[Field(name="flag", dtype=Bool), Field(name="z", dtype=Int64)])
pushed_v = FeatureView(name="pushed_v", entities=[user], source=push, schema=[Field(name="user_id", dtype=String), Field(name="x", dtype=Int64)])
readers = Permission(name="readers", types=[FeatureView], policy=RoleBasedPolicy(roles=["r"]), actions=[AuthzedAction.READ_ONLINE])
svc = FeatureService(name="svc", features=[delta_v[["x"]].with_join_key_map({"user_id": "u2"}), bq_v])
