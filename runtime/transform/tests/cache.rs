//! The folder of compiled code gives back what was put there, and nothing else.

#![expect(clippy::unwrap_used, reason = "tests may fail loudly")]

mod guest;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use galley_transform::{
    Cache, Engine, EngineConfig, Error, Limits, Loaded, Transform, TransformConfig, Worker,
};
use guest::{Guest, doubles};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineConfig {
        instances_max: 8,
        ..EngineConfig::default()
    })
    .unwrap()
});
static COMPONENT: LazyLock<Vec<u8>> = LazyLock::new(|| Guest::echo(doubles()).build());

fn open(folder: &Path) -> Cache {
    Cache::open(folder, Worker::InProcess).unwrap()
}

fn load(cache: &Cache) -> Loaded {
    let loaded = cache
        .load(&ENGINE, &COMPONENT, "a_view", &Limits::default())
        .unwrap();
    let config = TransformConfig::suited("a_view", &loaded);
    Transform::load(&ENGINE, &loaded, config).unwrap();
    loaded
}

fn entry(folder: &Path) -> PathBuf {
    let mut found = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "code"));
    let only = found.next().unwrap();
    assert_eq!(found.next(), None);
    only
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn code_is_compiled_once_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("code");
    assert!(load(&open(&folder)).was_compiled());
    assert!(!load(&open(&folder)).was_compiled());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("key")), 0o600);
    assert_eq!(mode(&entry(&folder)), 0o400);
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        2,
        "nothing is left over"
    );
}

#[test]
fn code_that_was_changed_is_compiled_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("code");
    load(&open(&folder));
    let path = entry(&folder);
    let sound = fs::read(&path).unwrap();
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    let mut marked = sound.clone();
    let mark = sound.len() - 33;
    marked[mark] ^= 1;
    for bad in [
        &flipped[..],
        &marked,
        &sound[..sound.len() - 1],
        &sound[1..],
        b"",
    ] {
        replace(&path, bad);
        assert!(load(&open(&folder)).was_compiled());
        assert!(fs::read(&path).unwrap() == sound, "the file is whole again");
    }
}

#[test]
fn code_of_another_installation_or_another_name_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (folder.path().join("mine"), folder.path().join("other"));
    load(&open(&mine));
    load(&open(&other));
    replace(&entry(&mine), &fs::read(entry(&other)).unwrap());
    assert!(load(&open(&mine)).was_compiled());
    // Signed by this installation, but for another component.
    let second = Guest {
        pages: 3,
        ..Guest::echo(doubles())
    }
    .build();
    let first = entry(&mine);
    let code = fs::read(&first).unwrap();
    let cache = open(&mine);
    let limits = Limits::default();
    cache.load(&ENGINE, &second, "a_view", &limits).unwrap();
    let digest = galley_transform::digest(&second).to_string();
    let path = fs::read_dir(&mine)
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&digest)
        })
        .unwrap();
    replace(&path, &code);
    let again = cache.load(&ENGINE, &second, "a_view", &limits).unwrap();
    assert!(again.was_compiled());
}

#[test]
fn a_folder_others_may_enter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("code");
    drop(open(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Cache::open(&path, Worker::InProcess).unwrap_err();
    assert!(matches!(error, Error::CacheUnsafe { .. }), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    drop(open(&path));
    fs::set_permissions(path.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Cache::open(&path, Worker::InProcess).is_err());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(Cache::open(&link, Worker::InProcess).is_err());
}
