"""Reads a landing folder as its users do: pandas over the folder, and Feast's own FileSource.

Prints what one view's files hold as JSON: {"rows": [[item_id, x, y], ...]}.
"""

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd

landing, view = Path(sys.argv[1]), sys.argv[2]
folder = landing / "views" / view
rows = []
if folder.is_dir() and any(folder.glob("*.parquet")):
    frame = pd.read_parquet(folder)
    columns = [name for name in frame.columns if name != "event_timestamp"]
    assert str(frame["event_timestamp"].dtype).endswith("UTC]"), frame.dtypes
    rows = frame[columns].astype("int64").values.tolist()

if "--feast" in sys.argv:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Int64

    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
    source = FileSource(name="landed", path=str(folder), timestamp_field="event_timestamp")
    landed = FeatureView(
        name="landed",
        entities=[item],
        ttl=timedelta(days=3650),
        schema=[Field(name="item_id", dtype=Int64), Field(name="x", dtype=Int64)],
        source=source,
    )
    work = landing.parent / "feast-of-landing"
    work.mkdir(exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="landed",
            provider="local",
            registry=str(work / "registry.db"),
            online_store={"type": "sqlite", "path": str(work / "online.db")},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    store.apply([item, landed])
    wanted = sorted({row[0] for row in rows})
    entities = pd.DataFrame(
        {"item_id": wanted, "event_timestamp": [datetime(2030, 1, 1, tzinfo=timezone.utc)] * len(wanted)}
    )
    answer = store.get_historical_features(entity_df=entities, features=["landed:x"]).to_df()
    newest = {}
    for row in rows:
        newest[row[0]] = row[1]
    assert len(answer) == len(wanted) and answer["x"].notna().all(), answer

print(json.dumps({"columns": columns if rows else [], "rows": rows}))
