//! Nodes and the buckets of Google and Azure: a registry and rows are read there, a feed is published
//! there and followed, and pushed rows land there.
//!
//! Google's XML protocol is that of S3 in all that a node asks for but conditional writes, so a server of
//! S3's protocol stands for it (which takes the conditions that Google has names of its own for as none).
//! For Azure there is the emulator of its makers, which needs node.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::buckets::{WINDOW, xs};
use crate::feast_sdk::run;
use crate::follow::{Centre, feed_status, number, reached};
use crate::support::emulators::Emulator;
use crate::support::feast::program;
use crate::support::repo::{self, Sandbox};
use crate::support::{Galley, Launch};

/// How long pushed rows may take to land.
const LANDED_MAX: Duration = Duration::from_secs(30);

/// One view whose rows lie at `SOURCE`, with a push source.
const DEFINITIONS: &str = "\
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Int64, String

thing = Entity(name='thing', join_keys=['thing_id'], value_type=ValueType.INT64)
source = FileSource(name='things_source', path='SOURCE', timestamp_field='event_timestamp')
things = FeatureView(
    name='things', entities=[thing], ttl=timedelta(0), source=PushSource(name='seen', batch_source=source),
    schema=[Field(name='thing_id', dtype=Int64), Field(name='x', dtype=Int64), Field(name='label', dtype=String)],
)
";

/// Reads and writes a bucket through pyarrow, as whoever keeps the lake does:
/// `make BUCKET`, `put FILE PATH`, `things PATH`, `rows FOLDER`.
const LAKE: &str = r"
import sys, json, datetime, pyarrow as pa, pyarrow.parquet as pq
from pyarrow.dataset import dataset
from pyarrow.fs import AzureFileSystem, S3FileSystem
fs, command, rest = eval(sys.argv[1]), sys.argv[2], sys.argv[3:]
if command == 'make':
    fs.create_dir(rest[0])
elif command == 'put':
    with open(rest[0], 'rb') as file, fs.open_output_stream(rest[1]) as out:
        out.write(file.read())
elif command == 'things':
    ids = list(range(1, 1001))
    when = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
    table = pa.table({
        'thing_id': pa.array(ids, pa.int64()), 'x': pa.array([i * 10 for i in ids], pa.int64()),
        'label': pa.array([f'thing {i}' for i in ids]),
        'event_timestamp': pa.array([when] * len(ids), pa.timestamp('us', 'UTC')),
    })
    pq.write_table(table, rest[0], filesystem=fs)
else:
    table = dataset(rest[0], filesystem=fs).to_table()
    print(json.dumps(sorted(zip(table['thing_id'].to_pylist(), table['x'].to_pylist()))))
";

/// A place that is not S3.
struct Elsewhere {
    /// The URL of the bucket that is called `central`.
    url: &'static str,
    /// How a node reaches it: what its own tools read.
    variables: Vec<(String, String)>,
    /// How pyarrow reaches it.
    lake: String,
}

// === impl Elsewhere ===

impl Elsewhere {
    fn lake(&self, args: &[&str]) -> String {
        run(program("python").args(["-c", LAKE, &self.lake]).args(args))
    }

    fn reaching(&self, launch: Launch) -> Launch {
        let launch = launch.env("GALLEY_FEAST_REGISTRY_POLL", "200ms");
        let set = |launch: Launch, (name, value): &(String, String)| launch.env(name, value);
        self.variables.iter().fold(launch, set)
    }

    /// A repo with its registry and its rows there; Feast applied it before it was put there.
    fn repo(&self) -> Sandbox {
        let sandbox = repo::empty("things");
        let yaml = |registry: &str| {
            let text = format!(
                "project: things\nprovider: local\nregistry: {registry}\noffline_store: {{type: file}}\n\
                 online_store: {{type: sqlite, path: online.db}}\nentity_key_serialization_version: 3\n"
            );
            std::fs::write(sandbox.repo.join("feature_store.yaml"), text).unwrap();
        };
        yaml("registry.pb");
        let source = format!("{}/data/things.parquet", self.url);
        let text = DEFINITIONS.replace("SOURCE", &source);
        std::fs::write(sandbox.repo.join("things.py"), text).unwrap();
        let mut apply = program("feast");
        apply.args(["apply", "--skip-source-validation"]);
        run(apply.current_dir(&sandbox.repo));
        let registry = sandbox.repo.join("registry.pb").display().to_string();
        self.lake(&["make", "central"]);
        self.lake(&["put", &registry, "central/feast/registry.pb"]);
        self.lake(&["things", "central/data/things.parquet"]);
        yaml(&format!("{}/feast/registry.pb", self.url));
        sandbox
    }

    /// A repo is read there, and what is pushed lands there.
    fn is_read_and_landed_at(&self) {
        let sandbox = self.repo();
        let launch = self
            .reaching(sandbox.launch())
            .env("GALLEY_OUTBOX_TO", format!("{}/landing", self.url))
            .env("GALLEY_OUTBOX_BATCH_WAIT", "50ms");
        launch.run(&["materialize", WINDOW[0], WINDOW[1]]).ok();
        let server = launch.start();
        assert_eq!(xs(&server, &[1, 1_000, 1_001]), json!([10, 10_000, null]));
        for keys in [[1, 2], [3, 4]] {
            let body = json!({
                "push_source_name": "seen", "to": "offline",
                "df": {"thing_id": keys, "event_timestamp": vec!["2026-04-01T00:00:00Z"; 2],
                       "x": keys, "label": ["a", "b"]},
            });
            let reply = server.client().post("/push", &body).unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        let deadline = Instant::now() + LANDED_MAX;
        let waiting = |server: &Galley| {
            let status: Value = server.client().get("/status").unwrap().json();
            status["outbox"].clone()
        };
        while waiting(&server)["entries"] != json!(0) {
            assert!(Instant::now() < deadline, "{}", waiting(&server));
            std::thread::sleep(Duration::from_millis(50));
        }
        let rows = self.lake(&["rows", "central/landing/views/things"]);
        assert_eq!(
            rows.lines().last(),
            Some("[[1, 1], [2, 2], [3, 3], [4, 4]]")
        );
    }

    /// A feed is published there, followed, and pruned.
    fn holds_a_feed(&self) {
        let feed = format!("{}/fleet/feed", self.url);
        let centre = Centre::new(3, 1_000).to(&feed, self.variables.clone());
        assert_eq!(centre.publish(&[]), 1);
        // The other side of an emulator may take longer than the nodes of these tests wait.
        let launch = self
            .reaching(centre.node("node", &feed))
            .env("GALLEY_REMOTE_READ_TIMEOUT", "10s");
        let server = launch.start();
        for release in 1..=3 {
            if release > 1 {
                assert_eq!(centre.publish(&["--keep", "1"]), release);
            }
            reached(&server, release);
            assert_eq!(number(&mut server.client(), 7), release);
        }
        // What only the first releases named is gone, and whoever comes now needs none of it.
        let late = self
            .reaching(centre.node("late", &feed))
            .env("GALLEY_REMOTE_READ_TIMEOUT", "10s")
            .start();
        reached(&late, 3);
        assert_eq!(feed_status(&late)["error"], Value::Null);
        assert_eq!(number(&mut late.client(), 7), 3);
    }
}

/// Google's place, played by a server of S3's protocol.
fn google(folder: &Path) -> (Emulator, Elsewhere) {
    let server = Emulator::s3(folder, &["central"]);
    let lake = format!(
        "S3FileSystem(endpoint_override='{}', access_key='key', secret_key='secret', region='us-east-1')",
        server.url()
    );
    let elsewhere = Elsewhere {
        url: "gs://central",
        variables: vec![(
            "STORAGE_EMULATOR_HOST".to_owned(),
            server.address.to_string(),
        )],
        lake,
    };
    (server, elsewhere)
}

#[test]
fn what_google_keeps_is_read_and_pushed_rows_land_there() {
    let folder = tempfile::tempdir().unwrap();
    let (server, google) = google(folder.path());
    google.is_read_and_landed_at();
    assert!(server.logged(&["GET /central/feast%2Fregistry.pb", " 304 "]) > 0);
}

#[test]
fn a_feed_that_google_keeps_is_published_followed_and_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let (server, google) = google(folder.path());
    google.holds_a_feed();
    let timestamp = "GET /central/fleet%2Ffeed%2Fmetadata%2Ftimestamp.json";
    assert!(server.logged(&[timestamp, " 304 "]) > 0);
    assert!(server.logged(&["DELETE /central/fleet%2Ffeed%2F"]) > 0);
}

/// Azure's place, by the emulator of its makers; nothing where that is not installed.
fn azure(folder: &Path) -> Option<(Emulator, Elsewhere)> {
    let server = Emulator::azurite(folder)?;
    let (account, key) = Emulator::AZURE_ACCOUNT;
    let connection = format!(
        "AccountName={account};AccountKey={key};BlobEndpoint={}/{account}",
        server.url()
    );
    let lake = format!(
        "AzureFileSystem(account_name='{account}', account_key='{key}', \
         blob_storage_authority='{at}', blob_storage_scheme='http', \
         dfs_storage_authority='{at}', dfs_storage_scheme='http')",
        at = server.address
    );
    let elsewhere = Elsewhere {
        url: "az://central",
        variables: vec![("AZURE_STORAGE_CONNECTION_STRING".to_owned(), connection)],
        lake,
    };
    Some((server, elsewhere))
}

#[test]
fn what_azure_keeps_is_read_followed_and_pushed_rows_land_there() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, azure)) = azure(folder.path()) else {
        return;
    };
    azure.is_read_and_landed_at();
    azure.holds_a_feed();
}
