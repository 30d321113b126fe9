"""A push through the unmodified Feast SDK: `push(to=ONLINE)` with `online_store: {type: remote}`.

usage: push.py REPO_DIR   (two views fed by one push source)
"""

import sys
import warnings

warnings.filterwarnings("ignore")

import pandas as pd
from feast import FeatureStore
from feast.data_source import PushMode

store = FeatureStore(repo_path=sys.argv[1])
now = pd.Timestamp.now(tz="UTC")
frame = pd.DataFrame({"item_id": [1, 2], "event_timestamp": [now, now.floor("s")], "x": [10, 20], "y": [11, 21]})
store.push("items", frame, to=PushMode.ONLINE)
answer = store.get_online_features(
    features=store.get_feature_service("pair"), entity_rows=[{"item_id": 1}, {"item_id": 2}], full_feature_names=True
).to_dict()
want = {
    "item_id": [1, 2],
    "left_a__x": [10, 20],
    "left_a__y": [11, 21],
    "right_a__x": [10, 20],
    "right_a__y": [11, 21],
}
assert answer == want, answer
print("push: all checks passed")
