//! The contracts in `wit/` do not change under a version that was given out.

use std::collections::HashSet;
use std::path::Path;

#[test]
fn a_contract_that_changes_has_a_new_version() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let versions = std::fs::read_to_string(folder.join("VERSIONS")).unwrap();
    let mut recorded = HashSet::new();
    let mut seen = HashSet::new();
    for line in versions.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let [package, version, digest, file] = parts[..] else {
            panic!("'{line}' is not: package version digest file");
        };
        assert!(
            seen.insert((package, version)),
            "{package} {version} is recorded twice"
        );
        recorded.insert(format!("{package}@{version} {digest} {file}"));
    }
    let mut files = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "wit") {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let package = text
            .lines()
            .find_map(|line| line.strip_prefix("package ")?.strip_suffix(';'))
            .unwrap_or_else(|| panic!("{name} names no package"));
        let digest = galley_transform::digest(text.as_bytes());
        assert!(
            recorded.contains(&format!("{package} {digest} {name}")),
            "{name} is not the text recorded for {package} in wit/VERSIONS. If it was given out, \
             raise the version; record: {package} {digest} {name}"
        );
    }
    assert!(files > 0);
}

/// Guests' crates carry the contracts with them, and so does what `spin build` checks against.
#[test]
fn every_copy_of_a_contract_is_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (copy, contract) in [
        ("guest-transforms/sdk/wit/transform.wit", "transform.wit"),
        (
            "guest-transforms/http/features/wit/features.wit",
            "features.wit",
        ),
        (
            "guest-transforms/http/features/wit/deps/transform/transform.wit",
            "transform.wit",
        ),
        ("wit/http/deps/features/features.wit", "features.wit"),
        ("wit/http/deps/transform/transform.wit", "transform.wit"),
    ] {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(
            read(&root.join(copy)),
            read(&root.join("wit").join(contract)),
            "{copy} is not wit/{contract}"
        );
    }
}
