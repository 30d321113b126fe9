"""What Feast makes of rows that its offline server was sent twice.

make DIR     a repo whose view is fed by a push source and whose service logs all it serves
check DIR    what its readers see, as JSON: {"stored", "same", "training", "latest", "logged", "served"}
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
from feast.types import Int64, String

command, repo = sys.argv[1], Path(sys.argv[2])
first = pd.Timestamp("2026-01-01T00:00:00Z")

if command == "make":
    (repo / "data").mkdir(parents=True)
    (repo / "feature_store.yaml").write_text(
        "project: twice\nprovider: local\nregistry: data/registry.db\n"
        "online_store:\n  type: sqlite\n  path: data/online_store.db\n"
        "offline_store:\n  type: file\nentity_key_serialization_version: 3\n"
    )
    pd.DataFrame(
        {
            "item_id": pd.Series([1], dtype="int64"),
            "x": pd.Series([0], dtype="int64"),
            "remark": ["first"],
            "event_timestamp": [first],
            "created": [first],
        }
    ).to_parquet(repo / "data/items.parquet")
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
    batch = FileSource(
        name="items_file",
        path="data/items.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    items = FeatureView(
        name="items",
        entities=[item],
        ttl=timedelta(0),
        schema=[Field(name="item_id", dtype=Int64), Field(name="x", dtype=Int64), Field(name="remark", dtype=String)],
        source=PushSource(name="pushed", batch_source=batch),
    )
    logs = FileLoggingDestination(path=str(repo / "logs"))
    served = FeatureService(
        name="served", features=[items], logging_config=LoggingConfig(destination=logs, sample_rate=1.0)
    )
    os.chdir(repo)
    FeatureStore(repo_path=".").apply([item, items, served])
else:
    os.chdir(repo)
    store = FeatureStore(repo_path=".")
    now = datetime.now(timezone.utc)
    stored = pd.read_parquet("data/items.parquet")
    pushed = stored[stored["x"] > 0]
    asked = pd.DataFrame({"item_id": [1, 2, 3], "event_timestamp": [pd.Timestamp("2026-05-01T00:00:00Z")] * 3})
    training = store.get_historical_features(entity_df=asked, features=["items:x", "items:remark"]).to_df()
    view = store.get_feature_view("items")
    latest = store._get_provider().offline_store.pull_latest_from_table_or_query(
        config=store.config,
        data_source=view.batch_source,
        join_key_columns=["item_id"],
        feature_name_columns=["x", "remark"],
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        start_date=first.to_pydatetime(),
        end_date=now,
    )
    latest = latest.to_df()
    service = store.get_feature_service("served")
    logs = store._get_provider().retrieve_feature_service_logs(
        feature_service=service,
        start_date=now - timedelta(days=1),
        end_date=now + timedelta(days=1),
        config=store.config,
        registry=store.registry,
    )
    logs = logs.to_df()
    found = training.sort_values("item_id")
    print(
        json.dumps(
            {
                "stored": sorted(pushed["item_id"].tolist()),
                "same": len(pushed.drop_duplicates()),
                "training": [[int(it.item_id), None if pd.isna(it.x) else int(it.x)] for it in found.itertuples()],
                "latest": sorted(latest[["item_id", "x"]].values.tolist()),
                "logged": len(logs),
                "served": len(logs.drop_duplicates()),
            }
        )
    )
