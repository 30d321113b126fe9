//! Requests of a real component to other hosts, over TLS and without.

#![expect(clippy::indexing_slicing, reason = "a test's failure is a panic")]

mod support;

use std::time::{Duration, Instant};

use galley_spin::{HttpApp, HttpComponentConfig, HttpLimits, OutboundOutcome};
use support::certificate::Certificate;
use support::secure::Secure;
use support::{Host, hostile, trusting};

fn patient() -> HttpLimits {
    HttpLimits {
        deadline: Duration::from_secs(20),
        cpu_deadline: Duration::from_secs(20),
        ..HttpLimits::default()
    }
}

fn granted(grants: &[String], limits: HttpLimits) -> HttpComponentConfig {
    HttpComponentConfig {
        allowed_outbound_hosts: grants.to_vec(),
        limits,
        ..hostile()
    }
}

fn count(app: &HttpApp, outcome: OutboundOutcome) -> u64 {
    app.status()[0].outbound_count(outcome)
}

#[test]
fn a_host_is_reached_over_tls_when_it_is_who_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::of_an_authority(folder.path());
    let server = Secure::start(Some(&certificate));
    let port = server.port;
    let host = Host::new();
    let grants =
        ["localhost", "127.0.0.1", "127.0.0.2"].map(|host| format!("https://{host}:{port}"));
    let config = || granted(&grants, patient());
    let trusted = host.load_trusting(vec![config()], &Ok(trusting(Some(&certificate.trust))));
    let fetch = |app: &HttpApp, name: &str| {
        host.text(app, &format!("/hostile/fetch?https://{name}:{port}/hello"))
    };
    assert_eq!(fetch(&trusted, "localhost"), "200 OK hello");
    let head = server.take_seen().concat().to_lowercase();
    assert!(head.starts_with("get /hello http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: localhost:{port}\r\n")),
        "{head}"
    );
    // By its address, which stands in the certificate, too.
    assert_eq!(fetch(&trusted, "127.0.0.1"), "200 OK hello");
    assert_eq!(
        fetch(&trusted, "127.0.0.2"),
        "ErrorCode::TlsCertificateError"
    );
    // Nobody vouches for it.
    let untrusted = host.load(vec![config()]);
    assert_eq!(
        fetch(&untrusted, "localhost"),
        "ErrorCode::TlsCertificateError"
    );
    server.take_seen();
    // TLS is not left out because the other side has none.
    let plain = Secure::start(None);
    let config = granted(&[format!("https://localhost:{}", plain.port)], patient());
    let app = host.load_trusting(vec![config], &Ok(trusting(Some(&certificate.trust))));
    let url = format!("https://localhost:{}/hello", plain.port);
    let text = host.text(&app, &format!("/hostile/fetch?{url}"));
    assert!(text.starts_with("ErrorCode::Tls"), "{text}");
    assert!(!plain.take_seen().concat().contains("GET"));
}

#[test]
fn without_anybody_to_trust_only_plain_hosts_are_granted() {
    let host = Host::new();
    let load = |grant: &str| {
        let config = granted(&[grant.to_owned()], patient());
        let app = host.load_trusting(vec![config], &Err("there is no file ca.pem".to_owned()));
        app.refused()
            .first()
            .map(|refused| refused.error.to_string())
    };
    for grant in ["https://a.test", "*://a.test:1", "*"] {
        let text = load(grant).unwrap();
        assert!(
            text.contains("there is no file ca.pem; mend remote.ca_file"),
            "{text}"
        );
    }
    assert_eq!(load("http://a.test"), None);
}

#[test]
fn a_wild_grant_does_not_lead_into_the_nodes_own_network() {
    let server = Secure::start(None);
    let port = server.port;
    let host = Host::new();
    for grant in [
        "*".to_owned(),
        format!("http://*:{port}"),
        "http://0.0.0.0/0:*".to_owned(),
    ] {
        let app = host.load(vec![granted(std::slice::from_ref(&grant), patient())]);
        for name in [
            "127.0.0.1",
            "0.0.0.0",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "127.1",
            "169.254.169.254",
            "10.0.0.1",
            "[fd00:ec2::254]",
        ] {
            let text = host.text(&app, &format!("/hostile/fetch?http://{name}:{port}/hello"));
            let expect = [
                "ErrorCode::DestinationIpProhibited",
                "ErrorCode::HttpRequestDenied",
            ];
            assert!(expect.contains(&text.as_str()), "{grant} {name}: {text}");
        }
        assert_eq!(count(&app, OutboundOutcome::Refused), 10);
    }
    assert!(server.take_seen().is_empty());
    for grant in [
        format!("http://localhost:{port}"),
        format!("http://127.0.0.0/8:{port}"),
    ] {
        let any = "http://*:*".to_owned();
        let app = host.load(vec![granted(&[any, grant], patient())]);
        let text = host.text(
            &app,
            &format!("/hostile/fetch?http://localhost:{port}/hello"),
        );
        assert_eq!(text, "200 OK hello");
    }
    // Whose name leads where only an address may be granted.
    let app = host.load(vec![granted(&["http://2852039166".to_owned()], patient())]);
    let text = host.text(&app, "/hostile/fetch?http://2852039166/latest/meta-data");
    assert_eq!(text, "ErrorCode::DestinationIpProhibited");
}

#[test]
fn each_hop_of_a_redirect_is_checked() {
    let (first, second) = (Secure::start(None), Secure::start(None));
    let there = |server: &Secure| format!("http://localhost:{}", server.port);
    let host = Host::new();
    let follow = |grants: &[String], to: &str| {
        let app = host.load(vec![granted(grants, patient())]);
        host.text(
            &app,
            &format!("/hostile/follow?{}/redirect?{to}", there(&first)),
        )
    };
    let hello = format!("{}/hello", there(&second));
    let own = [there(&first)];
    assert_eq!(follow(&own, &hello), "302 ErrorCode::HttpRequestDenied");
    assert!(second.take_seen().is_empty());
    assert_eq!(follow(&[there(&first), there(&second)], &hello), "302 200");
    let metadata = "http://169.254.169.254/latest";
    assert_eq!(follow(&own, metadata), "302 ErrorCode::HttpRequestDenied");
    let wild = [there(&first), "http://*".to_owned()];
    assert_eq!(
        follow(&wild, metadata),
        "302 ErrorCode::DestinationIpProhibited"
    );
}

#[test]
fn bodies_pass_piece_by_piece_and_within_bounds() {
    let server = Secure::start(None);
    let at = format!("http://localhost:{}", server.port);
    let host = Host::new();
    let limits = HttpLimits {
        outbound_body_bytes_max: 200_000,
        outbound_request_bytes_max: 100_000,
        ..patient()
    };
    let app = host.load(vec![granted(std::slice::from_ref(&at), limits)]);
    let text = |what: &str| host.text(&app, &format!("/hostile/{what}"));
    assert_eq!(text(&format!("post?100000,{at}/echo")), "100000");
    let over = text(&format!("post?100001,{at}/echo"));
    assert!(over.contains("HttpRequestBodySize(Some(100000))"), "{over}");
    assert_eq!(text(&format!("fetch?{at}/large?200000")).len(), 200_000 + 7);
    let over = text(&format!("fetch?{at}/large?200001"));
    assert!(
        over.contains("HttpResponseBodySize(Some(200000))"),
        "{over}"
    );
    let endless = text(&format!("fetch?{at}/endless"));
    assert!(
        endless.contains("HttpResponseBodySize(Some(200000))"),
        "{endless}"
    );
}

#[test]
fn a_host_that_is_silent_is_given_up() {
    let server = Secure::start(None);
    let at = format!("//localhost:{}", server.port);
    let host = Host::new();
    let limits = HttpLimits {
        outbound_connect_max: Duration::from_millis(300),
        outbound_first_byte_max: Duration::from_millis(300),
        outbound_time_max: Duration::from_millis(600),
        ..patient()
    };
    let app = host.load_trusting(
        vec![granted(&[format!("*:{at}")], limits)],
        &Ok(trusting(None)),
    );
    let check = |url: String, expect: &str, (least, most): (u64, u64)| {
        let begun = Instant::now();
        let text = host.text(&app, &format!("/hostile/fetch?{url}"));
        let took = begun.elapsed();
        assert!(text.contains(expect), "{url}: {text}");
        assert!(took >= Duration::from_millis(least), "{url}: {took:?}");
        assert!(took < Duration::from_millis(most), "{url}: {took:?}");
    };
    host.text(&app, "/hostile/hello");
    // Takes the connection, and never greets.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let limits = HttpLimits {
        outbound_connect_max: Duration::from_millis(300),
        ..patient()
    };
    let secure = host.load(vec![granted(
        &[format!("https://127.0.0.1:{port}")],
        limits,
    )]);
    let text = host.text(
        &secure,
        &format!("/hostile/fetch?https://127.0.0.1:{port}/"),
    );
    assert_eq!(text, "ErrorCode::ConnectionTimeout");
    check(
        format!("http:{at}/silent"),
        "ConnectionReadTimeout",
        (300, 5_000),
    );
    check(
        format!("http:{at}/trickle"),
        "HttpResponseTimeout",
        (600, 5_000),
    );
    assert_eq!(count(&app, OutboundOutcome::Failed), 1);
    assert_eq!(count(&app, OutboundOutcome::Answered), 1);
}

#[test]
fn requests_to_other_hosts_are_counted_whether_they_are_sent_or_not() {
    let server = Secure::start(None);
    let host = Host::new();
    let limits = HttpLimits {
        outbound_requests_max: 3,
        ..patient()
    };
    let url = format!("http://localhost:{}/hello", server.port);
    let app = host.load(vec![granted(
        &[format!("http://localhost:{}", server.port)],
        limits,
    )]);
    let text = host.text(&app, &format!("/hostile/flood?{url}"));
    assert_eq!(text, "ErrorCode::ConnectionLimitReached");
    assert_eq!(server.take_seen().len(), 3);
    // Each request of a caller has its own.
    assert_eq!(
        host.text(&app, &format!("/hostile/fetch?{url}")),
        "200 OK hello"
    );
    let all = OutboundOutcome::ALL.map(|outcome| count(&app, outcome));
    assert_eq!(all, [4, 97, 0]);
    // A name and a password would pass for the host.
    let text = host.text(&app, "/hostile/fetch?http://a:b@localhost/hello");
    assert_eq!(text, "ErrorCode::HttpRequestUriInvalid");
}
