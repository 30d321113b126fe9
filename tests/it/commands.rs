//! The commands, with a server running and without.


use crate::support::repo;

#[test]
fn version_says_what_it_is() {
    let sandbox = repo::swap('a');
    let version = sandbox.launch().run("version", &["--json"]).ok().json();
    assert_eq!(version["version"].as_str(), Some("0.1.0"), "{version}");
}
