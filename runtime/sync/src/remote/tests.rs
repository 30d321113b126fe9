//! Places over real connections.

use std::io::Read as _;

use super::testing::{Reply, Server, ranged};
use super::*;

fn text(fetched: Fetched) -> (Option<String>, String) {
    let Fetched::Body(mut body) = fetched else {
        panic!("unchanged");
    };
    let mut text = String::new();
    body.bytes.read_to_string(&mut text).unwrap();
    (body.tag, text)
}

fn unless(tag: Option<String>) -> Ask {
    Ask {
        unless: tag,
        from: 0,
    }
}

fn from(from: u64) -> Ask {
    Ask { unless: None, from }
}

#[test]
fn an_object_of_a_web_server_is_read_once_and_from_an_offset() {
    let server = Server::start(|request| {
        if request.target != "/feed/a/b.txt?sig=s3cret" {
            return Reply::new(404, "");
        }
        if request.headers.get("if-none-match").map(String::as_str) == Some("\"v1\"") {
            return Reply::new(304, "");
        }
        ranged(b"0123456789", request).with("etag", "\"v1\"")
    });
    let url = server.url().replace("http://", "http://me:pa%2Fss@");
    let place = open(&format!("{url}/feed/?sig=s3cret"), &RemoteConfig::default()).unwrap();
    assert_eq!(place.location(), format!("{}/feed/?...", server.url()));
    let (tag, whole) = text(place.read("a/b.txt", &Ask::default()).unwrap());
    assert_eq!(
        (tag.as_deref(), whole.as_str()),
        (Some("\"v1\""), "0123456789")
    );
    assert!(matches!(
        place.read("a/b.txt", &unless(tag)).unwrap(),
        Fetched::Unchanged
    ));
    assert_eq!(text(place.read("a/b.txt", &from(7)).unwrap()).1, "789");
    assert_eq!(text(place.read("a/b.txt", &from(10)).unwrap()).1, "");
    let request = server.requests().remove(0);
    assert_eq!(request.headers["authorization"], "Basic bWU6cGEvc3M=");

    let error = place.read("none", &Ask::default()).unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::NotFound);
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert!(!error.to_string().contains("pa"), "{error}");
    let error = place.read("../x", &Ask::default()).unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Invalid);
    assert_eq!(
        place.put("x", b"").unwrap_err().kind,
        RemoteErrorKind::Unsupported
    );
}

#[test]
fn a_token_is_sent_and_answers_have_their_kinds() {
    let server = Server::start(|request| {
        let status = request.target.trim_start_matches('/').parse().unwrap();
        Reply::new(status, "")
    });
    let config = RemoteConfig {
        token: Some("t0ken".to_owned()),
        ..RemoteConfig::default()
    };
    use RemoteErrorKind as K;
    let place = open(&server.url(), &config).unwrap();
    for (status, kind) in [
        ("401", K::Denied),
        ("403", K::Denied),
        ("410", K::NotFound),
        ("429", K::Unreachable),
        ("503", K::Unreachable),
        ("400", K::Invalid),
        ("206", K::Invalid),
        // Nothing was said of a tag.
        ("304", K::Invalid),
    ] {
        let error = place.read(status, &Ask::default()).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
    let requests = server.requests();
    assert_eq!(requests[0].headers["authorization"], "Bearer t0ken");
    assert!(!format!("{config:?} {place:?}").contains("t0ken"));
    let evil = RemoteConfig {
        token: Some("a\r\nhost: evil".to_owned()),
        ..config
    };
    assert!(open(&server.url(), &evil).is_err());
}

#[test]
fn redirects_stay_within_the_origin_and_end() {
    let elsewhere = Server::start(|_| Reply::new(200, "not here"));
    let target = elsewhere.url();
    let server = Server::start(move |request| match request.target.as_str() {
        "/moved" => Reply::new(302, "").with("location", "/there"),
        "/there" => Reply::new(200, "here"),
        "/round" => Reply::new(302, "").with("location", "/round"),
        // The same machine by another name is another origin.
        "/name" => Reply::new(302, "").with("location", "http://localhost:9/there"),
        "/file" => Reply::new(302, "").with("location", "file:///etc/passwd"),
        "/metadata" => Reply::new(302, "").with("location", "http://169.254.169.254/latest"),
        _ => Reply::new(302, "").with("location", format!("{target}/x")),
    });
    let place = open(&server.url(), &RemoteConfig::default()).unwrap();
    assert_eq!(
        text(place.read("moved", &Ask::default()).unwrap()).1,
        "here"
    );
    for path in ["away", "round", "name", "file", "metadata"] {
        let error = place.read(path, &Ask::default()).unwrap_err();
        assert_eq!(error.kind, RemoteErrorKind::Invalid, "{error}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn an_endless_object_is_cut_by_its_reader_and_a_short_one_is_an_error() {
    let server = Server::start(|request| match request.target.as_str() {
        "/endless" => Reply {
            endless: true,
            ..Reply::new(200, vec![b'x'; 65_536])
        },
        _ => Reply {
            missing: 100,
            ..Reply::new(200, "short")
        },
    });
    let read = |path: &str| {
        let url = format!("{}/{path}", server.url());
        let file = RemoteFile::open(&url, &RemoteConfig::default()).unwrap();
        file.read_whole(None, 1 << 20).unwrap_err()
    };
    let error = read("endless");
    assert!(
        error.detail.contains("more than the 1048576 bytes"),
        "{error}"
    );
    let error = read("short");
    assert_eq!(error.kind, RemoteErrorKind::Unreachable);
    assert!(
        error.detail.contains("cut off") || error.detail.contains("more"),
        "{error}"
    );
}

#[test]
fn a_time_of_change_is_a_tag_when_it_is_past() {
    let server = Server::start(|request| {
        if request.headers.contains_key("if-modified-since") {
            return Reply::new(304, "");
        }
        let date = match request.target.as_str() {
            "/old" => "Sat, 21 Nov 2026 10:00:02 GMT",
            _ => "Sat, 21 Nov 2026 10:00:01 GMT",
        };
        Reply::new(200, "x")
            .with("last-modified", "Sat, 21 Nov 2026 10:00:00 GMT")
            .with("date", date)
    });
    let place = open(&server.url(), &RemoteConfig::default()).unwrap();
    let (tag, _) = text(place.read("old", &Ask::default()).unwrap());
    assert!(tag.is_some());
    assert!(matches!(
        place.read("old", &unless(tag)).unwrap(),
        Fetched::Unchanged
    ));
    assert_eq!(text(place.read("new", &Ask::default()).unwrap()).0, None);
}

#[test]
fn silence_and_refusal_are_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let config = RemoteConfig {
        read_timeout: std::time::Duration::from_millis(200),
        ..RemoteConfig::default()
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    for url in [silent, gone] {
        let place = open(&url, &config).unwrap();
        let error = place.read("x", &Ask::default()).unwrap_err();
        assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{error}");
    }
}

fn bucket_config(server: &Server) -> RemoteConfig {
    let variables = [
        ("FEAST_S3_ENDPOINT_URL", server.url()),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "s3cret".to_owned()),
    ];
    RemoteConfig {
        variables: variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        ..RemoteConfig::default()
    }
}

#[test]
fn objects_of_a_bucket_are_put_read_listed_and_removed() {
    let server = Server::bucket("b");
    let config = bucket_config(&server);
    let place = open("s3://b/some/prefix", &config).unwrap();
    place.put("v=1/a.txt", b"0123456789").unwrap();
    assert_eq!(server.requests()[0].target, "/b/some/prefix/v%3D1/a.txt");
    let (tag, whole) = text(place.read("v=1/a.txt", &Ask::default()).unwrap());
    assert_eq!(whole, "0123456789");
    let request = server.requests().remove(0);
    assert!(request.headers["authorization"].starts_with("AWS4-HMAC-SHA256 Credential=key/"));
    assert!(matches!(
        place.read("v=1/a.txt", &unless(tag)).unwrap(),
        Fetched::Unchanged
    ));
    assert_eq!(text(place.read("v=1/a.txt", &from(8)).unwrap()).1, "89");
    assert_eq!(text(place.read("v=1/a.txt", &from(10)).unwrap()).1, "");
    open("s3://b/some", &config)
        .unwrap()
        .put("other", b"x")
        .unwrap();
    let found = place.list("").unwrap();
    let listed = Listed {
        path: "v=1/a.txt".to_owned(),
        size: 10,
        modified: found[0].modified,
    };
    assert!(listed.modified.is_some());
    assert_eq!(found, std::slice::from_ref(&listed));
    assert_eq!(place.list("v=1").unwrap(), [listed]);
    assert_eq!(place.list("v").unwrap(), []);
    place.delete("v=1/a.txt").unwrap();
    place.delete("v=1/a.txt").unwrap();
    let error = place.read("v=1/a.txt", &Ask::default()).unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::NotFound, "{error}");
    assert!(!format!("{error} {config:?}").contains("s3cret"));
    assert!(place.put("../x", b"").is_err());

    let file = RemoteFile::open("s3://b/some/other", &config).unwrap();
    let whole = file.read_whole(None, 1).unwrap().unwrap();
    assert_eq!(whole.bytes, b"x");
    assert!(file.read_whole(whole.tag.as_deref(), 1).unwrap().is_none());
    let error = file.read_whole(None, 0).unwrap_err();
    assert!(error.detail.contains("more than the 0 bytes"), "{error}");
}

/// An object is put where there is none, and in place of the one that is known to be there.
pub(super) fn swaps_only_what_it_knows(place: &dyn RemoteStore) {
    let now = || text(place.read("s/x", &Ask::default()).unwrap()).1;
    assert!(!place.swap("s/x", b"1", Some(b"0")).unwrap());
    assert!(place.swap("s/x", b"1", None).unwrap());
    assert!(!place.swap("s/x", b"2", None).unwrap());
    assert!(!place.swap("s/x", b"2", Some(b"0")).unwrap());
    assert_eq!(now(), "1");
    assert!(place.swap("s/x", b"1", None).unwrap(), "it is ours");
    assert!(place.swap("s/x", b"2", Some(b"1")).unwrap());
    assert_eq!(now(), "2");
    place.delete("s/x").unwrap();
}

#[test]
fn a_bucket_is_told_what_an_object_must_be_to_be_replaced() {
    let server = Server::bucket("b");
    let place = open("s3://b/some", &bucket_config(&server)).unwrap();
    swaps_only_what_it_knows(&*place);
    let requests = server.requests();
    let puts: Vec<_> = requests.iter().filter(|it| it.method == "PUT").collect();
    assert_eq!(puts.len(), 2, "the others were known to be in vain");
    assert_eq!(puts[0].headers["if-none-match"], "*");
    assert!(puts[1].headers.contains_key("if-match"));

    let server = Server::bucket("b");
    let host = ("STORAGE_EMULATOR_HOST".to_owned(), server.url());
    let mut config = RemoteConfig::default();
    config.variables.extend([host]);
    swaps_only_what_it_knows(&*open("gs://b/some", &config).unwrap());
    let requests = server.requests();
    let puts: Vec<_> = requests.iter().filter(|it| it.method == "PUT").collect();
    assert_eq!(puts[0].headers["x-goog-if-generation-match"], "0");
    assert_ne!(puts[1].headers["x-goog-if-generation-match"], "0");
}

#[test]
fn whoever_comes_between_looking_and_putting_keeps_what_they_put() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = Server::start(move |request| match request.method.as_str() {
        "PUT" => Reply::new(412, "<Error><Code>PreconditionFailed</Code></Error>"),
        _ if first.swap(false, std::sync::atomic::Ordering::Relaxed) => Reply::new(404, ""),
        _ => Reply::new(200, "theirs")
            .with("etag", "\"t\"".to_owned())
            .with("last-modified", "Sat, 21 Nov 2026 10:00:00 GMT".to_owned()),
    });
    let place = open("s3://b/some", &bucket_config(&server)).unwrap();
    assert!(!place.swap("x", b"ours", None).unwrap());
    let puts = server.requests();
    assert_eq!(puts.iter().filter(|it| it.method == "PUT").count(), 1);
}

#[test]
fn a_server_that_knows_no_conditions_is_put_to_without_them() {
    let server = Server::start(|request| match request.method.as_str() {
        "PUT" if request.headers.contains_key("if-none-match") => {
            Reply::new(400, "<Error><Code>NotImplemented</Code></Error>")
        }
        "PUT" => Reply::new(200, "").with("etag", "\"t\"".to_owned()),
        _ => Reply::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
    });
    let place = open("s3://b/some", &bucket_config(&server)).unwrap();
    assert!(place.swap("x", b"ours", None).unwrap());
    assert_eq!(server.requests().last().unwrap().body, b"ours");
}

#[test]
fn without_credentials_a_server_of_ones_own_is_asked_anonymously() {
    let server = Server::bucket("b");
    let mut config = bucket_config(&server);
    config.variables.retain(|name, _| !name.starts_with("AWS_"));
    let place = open("s3://b", &config).unwrap();
    place.put("x", b"1").unwrap();
    assert!(!server.requests()[0].headers.contains_key("authorization"));
}

#[test]
fn an_emulator_of_googles_is_written_to_without_credentials() {
    let server = Server::bucket("b");
    let mut config = RemoteConfig::default();
    let host = ("STORAGE_EMULATOR_HOST".to_owned(), server.url());
    config.variables.extend([host]);
    let place = open("gs://b/some", &config).unwrap();
    place.put("x", b"1").unwrap();
    assert_eq!(text(place.read("x", &Ask::default()).unwrap()).1, "1");
    // Who asks is said with every request: there are servers that answer nobody else.
    for request in server.requests() {
        assert_eq!(request.headers["authorization"], "Bearer owner");
    }
}

#[test]
fn azure_is_reached_by_the_names_of_its_own_tools() {
    let server = Server::start(|_| Reply::new(404, ""));
    let endpoint = format!("{}/me", server.url());
    let connection = format!("AccountName=me;AccountKey=c2VjcmV0;BlobEndpoint={endpoint}");
    let ways: [&[(&str, &str)]; 3] = [
        &[("AZURE_STORAGE_CONNECTION_STRING", &connection)],
        &[
            ("AZURE_STORAGE_ACCOUNT", "me"),
            ("AZURE_STORAGE_KEY", "c2VjcmV0"),
            ("AZURE_STORAGE_ENDPOINT", &endpoint),
        ],
        &[
            ("AZURE_STORAGE_ACCOUNT_NAME", "me"),
            ("REGISTRY_BLOB_KEY", "c2VjcmV0"),
            ("AZURE_STORAGE_ENDPOINT", &endpoint),
        ],
    ];
    for variables in ways {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        assert!(
            variables
                .iter()
                .all(|(name, _)| RemoteConfig::is_variable(name))
        );
        let config = RemoteConfig {
            variables: variables.iter().map(own).collect(),
            ..RemoteConfig::default()
        };
        let url = "abfss://c@me.dfs.core.windows.net/p/x";
        let file = RemoteFile::open(url, &config).unwrap();
        assert_eq!(file.location(), url);
        let error = file.read_whole(None, 1).unwrap_err();
        assert_eq!(error.kind, RemoteErrorKind::NotFound, "{error}");
        let request = server.requests().remove(0);
        assert_eq!(request.target, "/me/c/p/x");
        assert!(request.headers["authorization"].starts_with("SharedKey me:"));
    }
    let short = (
        "AZURE_STORAGE_CONNECTION_STRING",
        "UseDevelopmentStorage=true",
    );
    let mut config = RemoteConfig::default();
    config
        .variables
        .extend([(short.0.to_owned(), short.1.to_owned())]);
    open("az://c/p", &config).unwrap();
}

#[test]
fn every_kind_of_place_is_opened_and_others_are_refused() {
    let mut config = RemoteConfig::default();
    let account = "AccountName=me;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net";
    for (name, value) in [
        ("AZURE_STORAGE_CONNECTION_STRING", account),
        ("STORAGE_EMULATOR_HOST", "localhost:9"),
    ] {
        config.variables.insert(name.to_owned(), value.to_owned());
    }
    for good in [
        "/tmp/x",
        "file:///tmp/x",
        "s3://b/p",
        "s3a://b",
        "gs://b/p",
        "gcs://b/p",
        "az://c/p",
        "abfss://c@me.dfs.core.windows.net/p",
        "https://me.blob.core.windows.net/c/p",
        "https://me.blob.core.windows.net/c/p?sig=x",
        "https://host/p",
    ] {
        open(good, &config).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for evil in [
        "ftp://u:s3cret@h/x",
        "s3://",
        "s3://u:s3cret@b/x",
        "http://",
        "https://u:s3cret@[/x",
        "data://x",
        "abfss://c@evil.example/p",
    ] {
        let error = open(evil, &config).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn signatures_are_cut_off_messages() {
    let text = "GET http://h/x?sig=s3cret: error (https://h/y?a=b) of z?";
    assert_eq!(
        scrub(text),
        "GET http://h/x?...: error (https://h/y?...) of z?"
    );
}

#[test]
fn paths_stay_below_their_root() {
    for good in [
        "a",
        "metadata/1.root.json",
        "targets/ab12.registry.pb",
        "v=1/a-b_c",
    ] {
        assert!(is_plain(good), "{good}");
    }
    let long = "a".repeat(2000);
    for evil in [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "./a",
        "a\\b",
        "a\0",
        "a b",
        "%2e%2e/a",
        "http://h/x",
        "a?b",
        "a#b",
        "a\n",
        "é",
        "a:b",
        "~/x",
        long.as_str(),
    ] {
        assert!(!is_plain(evil), "{evil}");
    }
}

#[test]
fn a_location_is_shown_without_its_secrets() {
    let cases = [
        ("https://user:pass@host/a", "https://***@host/a"),
        ("https://token@host:1/a/b@c", "https://***@host:1/a/b@c"),
        ("https://host/a@b", "https://host/a@b"),
        ("s3://bucket/prefix?signature=x", "s3://bucket/prefix?..."),
        ("/a/folder", "/a/folder"),
        ("grpc://a:b@host:8815", "grpc://***@host:8815"),
    ];
    for (location, expect) in cases {
        assert_eq!(shown(location), expect);
    }
}
