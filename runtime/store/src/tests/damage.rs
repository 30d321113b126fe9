use std::ops::ControlFlow;

use super::disk::{Disk, Random};
use super::support::{Model, apply, batch, config, install, key, model_apply, unpack, write};
use crate::layout::{Data, data_name};
use crate::{Error, IndexState, Installed, SchemaId, Store, TableId};

fn sample() -> (Vec<u8>, TableId, Model) {
    let disk = Disk::default();
    let store = Store::with_backend(disk.clone(), config()).unwrap();
    let table = install(&store, "t");
    let mut model = Model::new();
    for round in 0..3 {
        let rows: Vec<_> = (0..400)
            .map(|id| (id * 3 + round, id, None, id * round))
            .collect();
        model_apply(&mut model, &rows);
        apply(&store, &[write(&table, &rows)]);
    }
    drop(store);
    (disk.image(), table.table, model)
}

/// What a damaged file did to its readers.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    harmless: u32,
    refused: u32,
    noticed: u32,
    silent: Vec<String>,
}

/// Reads everything out of `image`: no value may be wrong, and a missing one must be noticed.
fn read(
    image: &[u8],
    (table, model): (TableId, &Model),
    index: bool,
    (tally, what): (&mut Tally, &str),
) {
    let disk = Disk::of(image.to_vec());
    let store = match Store::with_backend(disk.clone(), config()) {
        Ok(store) => store,
        Err(error) => {
            assert!(
                matches!(error, Error::Damaged { .. } | Error::FormatTooNew { .. }),
                "{error}"
            );
            assert!(disk.image() == image, "{what}: a refused file was changed");
            tally.refused += 1;
            return;
        }
    };
    if index {
        let _ = store.build_index();
    }
    let snapshot = store.load();
    let (mut missing, mut errors) = (0, 0);
    for (id, row) in model {
        match snapshot.get(table, &key(*id)) {
            Ok(Some(bytes)) if unpack(&bytes) == *row => {}
            Ok(Some(_)) => tally
                .silent
                .push(format!("{what}: key {id} has a wrong value")),
            Ok(None) => missing += 1,
            Err(_) => errors += 1,
        }
    }
    let _ = snapshot.scan(table, &mut |_, _| ControlFlow::Continue(()));
    let told = store
        .stats()
        .tables
        .iter()
        .any(|stats| stats.table == table && stats.index == IndexState::Damaged);
    let report = store.check();
    let noticed = report.is_err() || report.is_ok_and(|report| !report.is_whole());
    if missing > 0 && !noticed {
        tally
            .silent
            .push(format!("{what}: {missing} rows are missing"));
    }
    if missing > 0 && index && !told {
        tally.silent.push(format!(
            "{what}: {missing} rows are missing, the index says nothing"
        ));
    }
    if missing + errors > 0 || noticed {
        tally.noticed += 1;
    } else {
        tally.harmless += 1;
    }
}

#[test]
fn flipped_bits_in_a_closed_file_are_never_a_silent_wrong_value() {
    let (image, table, model) = sample();
    let mut random = Random(2026);
    let mut tally = Tally::default();
    for trial in 0..300 {
        let mut damaged = image.clone();
        // Most of the file is free space: aim at bytes that are in use.
        let byte = loop {
            let byte = random.below(damaged.len() as u64) as usize;
            if damaged[byte] != 0 || random.below(20) == 0 {
                break byte;
            }
        };
        damaged[byte] ^= 1 << random.below(8);
        read(
            &damaged,
            (table, &model),
            trial % 2 == 0,
            (&mut tally, &format!("byte {byte}")),
        );
    }
    assert!(tally.silent.is_empty(), "{tally:?}");
    assert!(tally.noticed + tally.refused > 30, "{tally:?}");
}

#[test]
fn truncated_and_overwritten_files_are_refused_or_noticed() {
    let (image, table, model) = sample();
    let mut random = Random(7);
    let mut tally = Tally::default();
    for _ in 0..30 {
        let length = random.below(image.len() as u64) as usize;
        read(
            &image[..length],
            (table, &model),
            true,
            (&mut tally, &format!("cut to {length}")),
        );
        let mut zeroed = image.clone();
        let page = random.below(image.len() as u64 / 4096) as usize * 4096;
        zeroed[page..page + 4096].fill(0);
        read(
            &zeroed,
            (table, &model),
            true,
            (&mut tally, &format!("page at {page} zeroed")),
        );
    }
    assert!(tally.silent.is_empty(), "{tally:?}");
}

#[test]
fn a_row_swapped_for_another_sound_one_is_noticed() {
    let (image, table, _) = sample();
    let disk = Disk::of(image);
    {
        let database = redb::Builder::new()
            .create_with_backend(disk.clone())
            .unwrap();
        let txn = database.begin_write().unwrap();
        let installed = Installed {
            table,
            schema: SchemaId(1),
            schemas: Vec::new(),
        };
        let other = batch(&installed, &[(999_999, 1, None, 1)]);
        let (other_key, other_row) = other.iter().next().unwrap();
        let name = data_name(table);
        let mut rows = txn.open_table(Data::new(&name)).unwrap();
        rows.remove(key(0).as_slice()).unwrap().unwrap();
        rows.insert(other_key, other_row).unwrap();
        drop(rows);
        txn.commit().unwrap();
    }
    let store = Store::with_backend(disk, config()).unwrap();
    store.build_index().unwrap();
    assert_eq!(store.stats().tables[0].index, IndexState::Damaged);
    let report = store.check().unwrap();
    assert!(!report.tables[0].digest_matches && !report.is_whole());
    assert_eq!(
        (report.tables[0].rows, report.tables[0].rows_damaged),
        (1200, 0)
    );
}
