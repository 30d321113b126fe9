//! The tree keeps its own rules: names, paths, sizes, arrows between rooms, documents.

use std::path::{Path, PathBuf};

use crate::support::root;

/// The longest file of product code, counted up to its tests.
const FILE_LINES_MAX: usize = 500;
/// Folders that are no part of the source.
const NOT_SOURCE: [&str; 4] = [".git", "target", "__pycache__", ".galley"];

fn files() -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![root().to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if entry.file_type().unwrap().is_dir() {
                if !NOT_SOURCE.contains(&name.to_str().unwrap()) {
                    dirs.push(entry.path());
                }
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Every text file with its path below the root; binary files and lock files are left out.
fn texts() -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name != "Cargo.lock" && name != ".git")
        })
        .filter_map(|path| {
            let text = String::from_utf8(std::fs::read(&path).unwrap()).ok()?;
            Some((
                path.strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
                text,
            ))
        })
        .collect()
}

fn rooms() -> Vec<(String, PathBuf)> {
    let mut rooms: Vec<_> = std::fs::read_dir(root().join("runtime"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    rooms.sort();
    rooms
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // Put together here, so that this file does not hold them.
    let words = [
        ["/wo", "rk/"],
        ["/ho", "me/"],
        ["/ro", "ot/"],
        ["/opt", "/feast"],
        ["../sha", "red"],
        ["to", "do!("],
        ["unimple", "mented!("],
        ["FIX", "ME"],
    ];
    let mut found = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().map(|parts| parts.concat()) {
                // Recorded answers are data, whatever they hold.
                if line.contains(&word) && !path.starts_with("tests/golden/") {
                    found.push(format!("{path}:{}: {word}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn product_files_stay_short() {
    let mut long = Vec::new();
    for (path, text) in texts() {
        if path.starts_with("runtime/") && path.ends_with(".rs") && !path.contains("tests") {
            let lines = text
                .lines()
                .take_while(|line| !line.starts_with("#[cfg(test)]"))
                .count();
            if lines > FILE_LINES_MAX {
                long.push(format!("{path}: {lines} lines before its tests"));
            }
        }
    }
    assert!(
        long.is_empty(),
        "longer than {FILE_LINES_MAX}:\n{}",
        long.join("\n")
    );
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    let allow = ["#[al", "low("].concat();
    let found: Vec<_> = texts()
        .into_iter()
        // Guests' macros write code whose warnings nobody can foresee.
        .filter(|(path, _)| path.ends_with(".rs") && !path.starts_with("guest-transforms/"))
        .filter(|(_, text)| text.contains(&allow))
        .map(|(path, _)| path)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn rooms_see_only_the_rooms_they_may() {
    let may: &[(&str, &[&str])] = &[
        ("allocator", &[]),
        ("types", &[]),
        ("registry", &["types"]),
        ("store", &["types"]),
        ("transform", &["types"]),
        ("build", &["types"]),
        ("manifest", &["types"]),
        ("node", &["types", "registry", "store", "transform"]),
        ("api", &["types", "registry", "node"]),
        ("sync", &["types", "registry", "node", "manifest"]),
        ("spin", &["types", "transform", "node"]),
        (
            "cli",
            &[
                "allocator",
                "types",
                "registry",
                "store",
                "transform",
                "build",
                "manifest",
                "node",
                "api",
                "sync",
                "spin",
            ],
        ),
    ];
    for (room, dir) in rooms() {
        let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let (_, allowed) = may
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("room {room} has no arrows"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "room {room} leaves the lints of the house"
        );
        let shipped = manifest.split("[dev-dependencies]").next().unwrap();
        for line in shipped
            .lines()
            .filter_map(|line| line.strip_prefix("galley-"))
        {
            let to = line.split(['.', ' ', '=']).next().unwrap();
            let own_name = line.starts_with(&format!("{room}\""));
            assert!(
                own_name || allowed.contains(&to),
                "room {room} must not see {to}"
            );
        }
    }
}

#[test]
fn documents_exist_and_name_every_room() {
    let architecture = read("ARCHITECTURE.md");
    for (room, _) in rooms() {
        let entry = format!("{room}/ ");
        let listed = architecture
            .lines()
            .any(|line| line.trim_start().starts_with(&entry));
        assert!(listed, "the map in ARCHITECTURE.md does not list {room}/");
    }
    assert!(
        read("CHANGELOG.md").contains("## "),
        "CHANGELOG.md has no section"
    );
    for document in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"] {
        assert!(!read(document).is_empty(), "{document} is empty");
    }
}

#[test]
fn the_pipeline_runs_what_the_readme_says() {
    let command = "cargo xtask test";
    assert!(
        read("README.md").contains(command),
        "README.md does not say how to run the tests"
    );
    let last = read(".ci/run")
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(str::to_owned);
    assert!(
        last.is_some_and(|line| line.ends_with(command)),
        ".ci/run ends with something else than `{command}`"
    );
}

#[test]
fn relative_links_of_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in texts() {
        if !path.ends_with(".md") {
            continue;
        }
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap();
            let elsewhere =
                target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            let base = Path::new(&path).parent().unwrap();
            if !elsewhere && root().join(base).join(target).symlink_metadata().is_err() {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
