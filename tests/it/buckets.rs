//! Nodes and buckets: registries, sources, feeds and landings on servers of others that speak the
//! protocols of S3 and its like, written and read by Feast's own clients where these know how.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::feast_sdk::run;
use crate::follow::{Centre, feed_status, number, reached};
use crate::support::emulators::{Emulator, feast_with_extras, packages};
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::feast::program;
use crate::support::process::{clean, galley};
use crate::support::repo::{self, Sandbox, column};
use crate::support::{Galley, Launch};

pub(crate) const WINDOW: [&str; 2] = ["2020-01-01T00:00:00+00:00", "2035-01-01T00:00:00+00:00"];
/// How long news from a bucket may take.
const NEWS_MAX: Duration = Duration::from_secs(40);
/// What the servers of these tests take as credentials.
const CREDENTIALS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "key"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
    ("AWS_DEFAULT_REGION", "us-east-1"),
];

/// What a repo has whose one view's rows lie in a bucket; `{}` are its S3 server and its folder.
const DEFINITIONS: &str = "\
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64, String

thing = Entity(name='thing', join_keys=['thing_id'], value_type=ValueType.INT64)
source = FileSource(
    name='things_source', path='s3://central/SOURCE',
    s3_endpoint_override='ENDPOINT', timestamp_field='event_timestamp',
)
things = FeatureView(
    name='things', entities=[thing], ttl=timedelta(days=36500), source=source,
    schema=[Field(name='thing_id', dtype=Int64), Field(name='x', dtype=Int64), Field(name='label', dtype=String)],
)
";

/// Writes Parquet to a bucket as Feast's users do: by pyarrow.
const WRITE_THINGS: &str = r"
import sys, datetime, pyarrow as pa, pyarrow.parquet as pq
from pyarrow.fs import S3FileSystem
endpoint, path, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ids = list(range(first, first + count))
when = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
table = pa.table({
    'thing_id': pa.array(ids, pa.int64()),
    'x': pa.array([i * 10 for i in ids], pa.int64()),
    'label': pa.array([f'thing {i}' for i in ids]),
    'event_timestamp': pa.array([when] * count, pa.timestamp('us', 'UTC')),
})
pq.write_table(table, path, filesystem=S3FileSystem(endpoint_override=endpoint))
";

fn with_credentials(mut command: Command) -> Command {
    command.envs(CREDENTIALS);
    command
}

/// Settings of a node that reaches the S3 server at `endpoint`, by the variables of AWS's own tools.
fn reaching(launch: Launch, endpoint: &str) -> Launch {
    let launch = CREDENTIALS
        .iter()
        .fold(launch, |launch, (name, value)| launch.env(name, value));
    launch
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("GALLEY_FEAST_REGISTRY_POLL", "200ms")
}

fn write_things(s3: &Emulator, path: &str, first: i64, count: i64) {
    let mut command = with_credentials(program("python"));
    command.args(["-c", WRITE_THINGS, &s3.url(), path]);
    run(command.args([first.to_string(), count.to_string()]));
}

/// A repo whose registry is `s3://central/feast/registry.pb`, applied by Feast itself.
fn applied(s3: &Emulator, source: &str) -> Sandbox {
    let sandbox = repo::empty("things");
    let yaml = "project: things\nprovider: local\nregistry: s3://central/feast/registry.pb\n\
                offline_store: {type: file}\nonline_store: {type: sqlite, path: online.db}\n\
                entity_key_serialization_version: 3\n";
    std::fs::write(sandbox.repo.join("feature_store.yaml"), yaml).unwrap();
    let text = DEFINITIONS.replace("SOURCE", source);
    let text = text.replace("ENDPOINT", &s3.url());
    std::fs::write(sandbox.repo.join("things.py"), text).unwrap();
    apply(s3, &sandbox.repo);
    sandbox
}

fn apply(s3: &Emulator, repo: &Path) {
    let mut command = with_credentials(feast_with_extras());
    command.arg("apply").current_dir(repo);
    run(command.env("FEAST_S3_ENDPOINT_URL", s3.url()));
}

fn status(server: &Galley) -> Value {
    server.client().get("/status").unwrap().json()
}

/// Waits until the state of the server is as `done` wants it.
#[track_caller]
fn until(server: &Galley, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + NEWS_MAX;
    loop {
        let status = status(server);
        if done(&status) {
            return status;
        }
        assert!(
            Instant::now() < deadline,
            "{what} does not come: {status}\n{}",
            server.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The x of some things, as a server that was materialised has them.
pub(crate) fn xs(server: &Galley, things: &[i64]) -> Value {
    let body = json!({
        "features": ["things:x", "things:label"], "entities": {"thing_id": things}, "full_feature_names": true,
    });
    let answer = server.client().post("/get-online-features", &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    json!(column(&answer.json(), "things__x").0)
}

#[test]
fn a_repo_that_feast_keeps_in_a_bucket_is_followed_and_materialised() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = Emulator::s3(folder.path(), &["central"]);
    write_things(&s3, "central/data/things.parquet", 1, 1_000);
    let sandbox = applied(&s3, "data/things.parquet");
    let launch = reaching(sandbox.launch(), &s3.url());
    launch.run(&["materialize", WINDOW[0], WINDOW[1]]).ok();
    let server = launch.start();
    assert_eq!(xs(&server, &[1, 1_000, 1_001]), json!([10, 10_000, null]));

    // A feed is made of it where it lies.
    let [keys, feed] = ["keys", "feed"].map(|name| folder.path().join(name).display().to_string());
    let made = clean(galley()).args(["keys", "init", &keys]).output();
    assert!(made.unwrap().status.success());
    let published = clean(galley())
        .args([
            "publish", "--full", "--json", "--to", &feed, "--keys", &keys,
        ])
        .arg("--repo")
        .arg(&sandbox.repo)
        .envs(CREDENTIALS)
        .env("AWS_ENDPOINT_URL", s3.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&published.stderr);
    assert!(published.status.success(), "{said}");
    let published: Value = serde_json::from_slice(&published.stdout).unwrap();
    assert_eq!(published["batches"][0]["rows"], 1_000, "{published}");

    // Polls are conditional, and what Feast applies meanwhile arrives; a folder is a source too.
    let deadline = Instant::now() + NEWS_MAX;
    while s3.logged(&["GET /central/feast/registry.pb", " 304 "]) < 2 {
        assert!(Instant::now() < deadline, "no conditional polls");
        std::thread::sleep(Duration::from_millis(50));
    }
    write_things(&s3, "central/data/more/a.parquet", 1, 10);
    write_things(&s3, "central/data/more/day=2/b.parquet", 11, 10);
    let before = status(&server)["registry"]["generation"].clone();
    let text = std::fs::read_to_string(sandbox.repo.join("things.py")).unwrap();
    let text = text.replace("data/things.parquet", "data/more/");
    std::fs::write(sandbox.repo.join("things.py"), text).unwrap();
    apply(&s3, &sandbox.repo);
    until(&server, "the new registry", |status| {
        status["registry"]["generation"] != before
    });
    let body = json!({"start_ts": WINDOW[0], "end_ts": WINDOW[1]});
    let answer = server.client().post("/materialize", &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(xs(&server, &[1, 20, 21]), json!([10, 200, 210]));
}

#[test]
fn a_source_in_a_bucket_is_fetched_through_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = Emulator::s3(folder.path(), &["central"]);
    write_things(&s3, "central/data/things.parquet", 1, 300_000);
    let sandbox = applied(&s3, "data/things.parquet");
    let proxy = FaultProxy::start(s3.address);
    // The registry names the server; what the environment names is for whoever names none.
    let text = std::fs::read_to_string(sandbox.repo.join("things.py")).unwrap();
    std::fs::write(
        sandbox.repo.join("things.py"),
        text.replace(&s3.url(), &proxy.url()),
    )
    .unwrap();
    apply(&s3, &sandbox.repo);
    let launch = reaching(sandbox.launch(), &s3.url());
    let server = launch.start();
    proxy.strike(&[Fault::Cut(400_000); 5]);
    let body = json!({"start_ts": WINDOW[0], "end_ts": WINDOW[1]});
    let answer = server.client().post("/materialize", &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(xs(&server, &[1, 300_000]), json!([10, 3_000_000]));
    assert!(proxy.struck() >= 3, "{} faults struck", proxy.struck());
    let ranges = s3.logged(&["GET /central/data/things.parquet", " 206 "]);
    assert!(ranges >= 2, "{ranges} parts");
}

#[test]
fn a_feed_in_a_bucket_is_published_followed_through_cuts_and_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = Emulator::s3(folder.path(), &["edge"]);
    let mut variables = CREDENTIALS
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    variables.push(("AWS_ENDPOINT_URL".to_owned(), s3.url()));
    let centre = Centre::new(6, 60_000).to("s3://edge/fleet/feed", variables);
    assert_eq!(centre.publish(&[]), 1);
    let proxy = FaultProxy::start(s3.address);
    let launch = reaching(centre.node("node", "s3://edge/fleet/feed"), &proxy.url());
    let server = launch.start();
    reached(&server, 1);
    assert_eq!(number(&mut server.client(), 7), 1);

    // An unchanged poll is one conditional read.
    let before = s3.logged(&["GET /edge/fleet/feed/metadata/timestamp.json", " 304 "]);
    std::thread::sleep(Duration::from_millis(1_500));
    let after = s3.logged(&["GET /edge/fleet/feed/metadata/timestamp.json", " 304 "]);
    assert!(after >= before + 3, "{before} {after}");

    // Cut off in the middle of content, a node goes on with the rest alone.
    centre.publish(&[]);
    proxy.strike(&[Fault::Cut(200_000); 8]);
    reached(&server, 2);
    assert_eq!(number(&mut server.client(), 7), 2);
    let ranges = s3.logged(&["GET /edge/fleet/feed/", " 206 "]);
    assert!(ranges >= 1, "nothing was resumed");

    // What only releases name that are no longer kept is removed.
    let mut removed = 0;
    for _ in 0..3 {
        centre.publish(&["--keep", "2"]);
        removed += s3.logged(&["DELETE /edge/fleet/feed/"]);
    }
    assert!(removed > 0, "nothing was removed");
    reached(&server, 5);
    assert_eq!(number(&mut server.client(), 7), 5);

    // Without the bucket it serves on, and says why nothing new comes.
    drop(s3);
    let deadline = Instant::now() + NEWS_MAX;
    while feed_status(&server)["error_code"] != "feed_unreachable" {
        assert!(Instant::now() < deadline, "{}", feed_status(&server));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(number(&mut server.client(), 7), 5);
}

/// Reads what landed of the view `left` with Feast, from the bucket.
const READ_LANDED: &str = r"
import sys
sys.path.append(sys.argv[1])
import json, pandas as pd
from datetime import datetime, timedelta, timezone
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Int64
endpoint, path, work = sys.argv[2:]
item = Entity(name='item', join_keys=['item_id'], value_type=ValueType.INT64)
source = FileSource(name='landed', path=path, s3_endpoint_override=endpoint, timestamp_field='event_timestamp')
landed = FeatureView(name='landed', entities=[item], ttl=timedelta(days=3650), source=source,
                     schema=[Field(name='item_id', dtype=Int64), Field(name='x', dtype=Int64)])
store = FeatureStore(config=RepoConfig(project='landed', provider='local', registry=work + '/registry.db',
    online_store={'type': 'sqlite', 'path': work + '/online.db'}, offline_store={'type': 'file'},
    entity_key_serialization_version=3))
store.apply([item, landed])
from pyarrow.dataset import dataset
from pyarrow.fs import S3FileSystem
table = dataset(path.removeprefix('s3://'), filesystem=S3FileSystem(endpoint_override=endpoint)).to_table()
print(json.dumps(sorted(zip(table['item_id'].to_pylist(), table['x'].to_pylist()))))
";

#[test]
fn pushed_rows_land_in_a_bucket_and_feast_reads_them_there() {
    let sandbox = repo::swap('a');
    let s3 = Emulator::s3(sandbox.dir.path(), &["back"]);
    let launch = reaching(sandbox.launch(), &s3.url())
        .env("GALLEY_OUTBOX_TO", "s3://back/landing")
        .env("GALLEY_OUTBOX_BATCH_WAIT", "50ms");
    let server = launch.start();
    for keys in [[1, 2], [3, 4]] {
        let body = json!({
            "push_source_name": "items", "to": "offline",
            "df": {"item_id": keys, "event_timestamp": vec!["2026-02-01T00:00:00Z"; 2], "x": keys, "y": keys},
        });
        let reply = server.client().post("/push", &body).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    until(&server, "an empty outbox", |status| {
        status["outbox"]["entries"] == 0
    });
    let work = sandbox.dir.path().join("feast");
    std::fs::create_dir(&work).unwrap();
    let mut command = with_credentials(program("python"));
    command.args(["-c", READ_LANDED]).arg(packages());
    command.args([&s3.url(), "s3://back/landing/views/left/"]);
    let said = run(command.arg(&work));
    assert_eq!(
        said.lines().last(),
        Some("[[1, 1], [2, 2], [3, 3], [4, 4]]")
    );
}
