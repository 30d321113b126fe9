//! Folders of keys.

use std::fs;

use super::super::Trusted;
use super::*;

const NOW: EventTime = EventTime(1_790_000_000_000_000);

fn new(root_keys: u32, threshold: u32) -> NewKeyring {
    NewKeyring {
        root_keys,
        threshold,
    }
}

#[test]
fn keys_are_made_read_and_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("keys");
    Keyring::create(&dir, new(1, 1), NOW).unwrap();
    let again = Keyring::create(&dir, new(1, 1), NOW).unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");
    let mut ring = Keyring::open(&dir).unwrap();
    Trusted::new(ring.roots[0].bytes.clone()).unwrap();
    let before = ring.signers(Role::Timestamp).unwrap()[0].id().to_owned();
    ring.rotate(Role::Timestamp, None, NOW).unwrap();
    ring.rotate(Role::Root, None, NOW).unwrap();
    ring.complete().unwrap();
    let ring = Keyring::open(&dir).unwrap();
    assert_ne!(ring.signers(Role::Timestamp).unwrap()[0].id(), before);
    let shown = ring.show().unwrap();
    assert_eq!((shown.root_version, shown.missing), (3, None));
    let here = |trusted| {
        shown
            .keys
            .iter()
            .filter(|key| key.trusted == trusted)
            .count()
    };
    assert_eq!((here(true), here(false)), (4, 2));
    #[cfg(unix)]
    for key in &shown.keys {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(key.file.as_ref().unwrap())
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}

#[test]
fn a_root_is_signed_where_its_keys_are() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let ring = Keyring::create(&one, new(2, 2), NOW).unwrap();
    let root_keys: Vec<_> = ring
        .keys
        .iter()
        .filter(|key| key.role == Role::Root)
        .collect();
    let moved = root_keys[1].path.clone();
    fs::create_dir(&other).unwrap();
    fs::copy(one.join("1.root.json"), other.join("1.root.json")).unwrap();
    fs::rename(&moved, other.join(moved.file_name().unwrap())).unwrap();
    let mut ring = Keyring::open(&one).unwrap();
    ring.rotate(Role::Targets, None, NOW).unwrap();
    let missing = ring.show().unwrap().missing.unwrap();
    assert!(missing.contains("sign-root"), "{missing}");
    assert!(ring.sign_root(NOW).is_err());
    assert!(ring.rotate(Role::Targets, None, NOW).is_err());
    fs::copy(one.join("2.root.json"), other.join("2.root.json")).unwrap();
    let mut elsewhere = Keyring::open(&other).unwrap();
    elsewhere.sign_root(NOW).unwrap();
    elsewhere.complete().unwrap();
    fs::copy(other.join("2.root.json"), one.join("2.root.json")).unwrap();
    Keyring::open(&one).unwrap().complete().unwrap();
}

#[test]
fn a_complete_root_gets_a_successor_that_expires_later() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("keys");
    let mut ring = Keyring::create(&dir, new(1, 1), NOW).unwrap();
    let later = EventTime(NOW.0 + 3_600_000_000);
    ring.sign_root(later).unwrap();
    ring.complete().unwrap();
    let shown = ring.show().unwrap();
    assert_eq!(shown.root_version, 2);
    assert_eq!(shown.expires_at, EventTime(later.0 + ROOT_LIFE));
}
