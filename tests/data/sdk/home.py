"""The way home, seen from Feast's side.

make DIR LANDING   a repo whose view is fed by a push source and whose service logs all it serves
forget DIR         takes the service out of the registry
check DIR          what its offline store holds, as JSON: {"items": [[item_id, x, y]], "logs": [..]}
"""

import json
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.types import Int64

command, repo = sys.argv[1], Path(sys.argv[2])

if command == "make":
    landing = Path(sys.argv[3])
    (repo / "data").mkdir(parents=True)
    (repo / "feature_store.yaml").write_text(
        "project: home\nprovider: local\nregistry: data/registry.db\n"
        "online_store:\n  type: sqlite\n  path: data/online_store.db\n"
        "offline_store:\n  type: file\nentity_key_serialization_version: 3\n"
    )
    # Columns in an order of their own, and one that no view has.
    pd.DataFrame(
        {
            "y": pd.Series([100], dtype="int64"),
            "event_timestamp": [pd.Timestamp("2026-01-01T00:00:00Z")],
            "remark": ["first"],
            "item_id": pd.Series([0], dtype="int64"),
            "x": pd.Series([0], dtype="int64"),
        }
    ).to_parquet(repo / "data/items.parquet")
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
    batch = FileSource(name="items_file", path="data/items.parquet", timestamp_field="event_timestamp")
    source = PushSource(name="items", batch_source=batch)
    key = Field(name="item_id", dtype=Int64)
    fields = {name: Field(name=name, dtype=Int64) for name in ("x", "y")}
    both = FeatureView(
        name="both", entities=[item], ttl=timedelta(0), schema=[key, fields["x"], fields["y"]], source=source
    )
    # A second view of the same source: the rows must not go home twice.
    part = FeatureView(name="part", entities=[item], ttl=timedelta(0), schema=[key, fields["x"]], source=source)
    served = FeatureService(
        name="served",
        features=[both, part.with_name("p")],
        logging_config=LoggingConfig(
            destination=FileLoggingDestination(path=str(landing / "logs" / "served")), sample_rate=1.0
        ),
    )
    os.chdir(repo)
    FeatureStore(repo_path=".").apply([item, both, part, served])
elif command == "forget":
    os.chdir(repo)
    FeatureStore(repo_path=".").delete_feature_service("served")
else:
    os.chdir(repo)
    items = pd.read_parquet("data/items.parquet")
    assert list(items.columns) == ["y", "event_timestamp", "remark", "item_id", "x"], items.columns
    store = FeatureStore(repo_path=".")
    service = store.get_feature_service("served")
    logs = store._get_provider().retrieve_feature_service_logs(
        feature_service=service,
        start_date=datetime.now(timezone.utc) - timedelta(days=1),
        end_date=datetime.now(timezone.utc) + timedelta(days=1),
        config=store.config,
        registry=store.registry,
    )
    logs = logs.to_df()
    rows = []
    for _, row in logs.iterrows():
        value = row["both__x"]
        rows.append(
            [
                int(row["item_id"]),
                None if pd.isna(value) else int(value),
                int(row["both__x__status"]),
                str(row["__request_id"]),
                str(row["__log_date"]),
            ]
        )
        if not pd.isna(value):
            assert row["p__x"] == value, row
            assert pd.Timestamp(row["both__x__timestamp"]).year == 2026, row
    print(json.dumps({"items": items[["item_id", "x", "y"]].values.tolist(), "logs": rows}))
