"""Compares what Feast computes for on-demand feature views with what a server answers for them.

usage: compare_transforms.py REPO_DIR URL   (its own store has been materialized already)
"""

import json
import sys
import urllib.request
import warnings

warnings.filterwarnings("ignore")

from feast import FeatureStore

repo, url = sys.argv[1:]
store = FeatureStore(repo_path=repo)
drivers = [1001, 1002, 1003, 1004, 1005, 4711]
entities = {"driver_id": drivers, "val_to_add": [1, 2, 3, 4, 5, 6], "val_to_add_2": [10, -20, 0, 7, 8, 9]}
rows = [dict(zip(entities, values)) for values in zip(*entities.values())]
outputs = ["conv_rate_plus_val1", "conv_rate_plus_val2"]
asked = [
    {"features": [f"{view}:{output}" for output in outputs]}
    for view in ("transformed_conv_rate", "transformed_conv_rate_fresh")
]
asked.append({"features": ["driver_hourly_stats:acc_rate", "transformed_conv_rate:conv_rate_plus_val2"]})
asked += [{"feature_service": name} for name in ("driver_activity_v1", "driver_activity_v3")]

checked = 0
for question in asked:
    wanted = question.get("features") or store.get_feature_service(question["feature_service"])
    want = store.get_online_features(features=wanted, entity_rows=rows).to_dict()
    body = json.dumps(question | {"entities": entities}).encode()
    request = urllib.request.Request(url + "/get-online-features", body, {"content-type": "application/json"})
    answer = json.load(urllib.request.urlopen(request))
    got = dict(zip(answer["metadata"]["feature_names"], (r["values"] for r in answer["results"])))
    want = {name: values for name, values in want.items() if not name.startswith("val_to_add")}
    assert set(want) == set(got), (question, set(want), set(got))
    for name, values in want.items():
        if not name.startswith("conv_rate_plus"):
            continue
        for row, (ours, theirs) in enumerate(zip(values, got[name], strict=True)):
            assert ours == theirs or abs(ours - theirs) <= 1e-9, f"{question} {name}[{row}]: {ours!r} {theirs!r}"
            checked += ours is not None
assert checked >= 5 * 9, checked
print(f"compare: {checked} computed values agree")
