"""Compares what Feast answers from its own SQLite store with what a server answers for the same repo.

usage: compare.py REPO_DIR URL START END   (materialises into Feast's store first)
"""

import datetime as dt
import json
import sys
import urllib.request
import warnings

warnings.filterwarnings("ignore")

from feast import FeatureStore

repo, url, start, end = sys.argv[1:]
store = FeatureStore(repo_path=repo)
views = ["driver_hourly_stats", "driver_hourly_stats_fresh"]
store.materialize(dt.datetime.fromisoformat(start), dt.datetime.fromisoformat(end), feature_views=views)
columns = ["conv_rate", "acc_rate", "avg_daily_trips", "driver_metadata", "driver_config", "driver_profile"]
drivers = [1001, 1002, 1003, 1004, 1005, 4711]


def plain(name, value):
    return json.loads(value) if name.endswith("driver_config") and isinstance(value, str) else value


checked = 0
for view in views:
    features = [f"{view}:{c}" for c in columns]
    ours = store.get_online_features(
        features=features, entity_rows=[{"driver_id": d} for d in drivers], full_feature_names=True
    ).to_dict()
    body = {"features": features, "entities": {"driver_id": drivers}, "full_feature_names": True}
    request = urllib.request.Request(
        url + "/get-online-features", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    answer = json.load(urllib.request.urlopen(request))
    theirs = dict(zip(answer["metadata"]["feature_names"], (r["values"] for r in answer["results"])))
    assert set(ours) == set(theirs), (set(ours), set(theirs))
    for name, values in ours.items():
        for driver, want, got in zip(drivers, values, theirs[name], strict=True):
            assert plain(name, want) == plain(name, got), f"{name} of {driver}: Feast {want!r}, server {got!r}"
            checked += want is not None
assert checked >= 2 * 5 * len(columns), checked
print(f"compare: {checked} values agree")
