//! Releases and their return, against a model.

use std::collections::BTreeMap;

use galley_types::{EventTime, KeyType, Value};

use super::disk::{Disk, Random};
use super::support::{Model, apply, check, config, install, key, number_schema, write};
use crate::{
    Error, Installed, Release, RowBatch, RowWriter, Spill, Store, TableSpec, TicketState, Write,
};

/// Rows as a release brings them.
pub(super) fn of_release(table: &Installed, rows: &[(i64, i64, i64)]) -> Write {
    let mut writer = RowWriter::new(&number_schema(), table.schema).of_release();
    let mut batch = RowBatch::new(table.table);
    for (id, time, value) in rows {
        writer.begin(EventTime(*time), None);
        writer.set(0, &Value::Int64(*value)).unwrap();
        writer
            .set(
                1,
                &Value::Text("x".repeat((*value % 7).unsigned_abs() as usize)),
            )
            .unwrap();
        batch.push(&key(*id), &mut writer).unwrap();
    }
    Write {
        batches: vec![batch],
        ..Write::default()
    }
}

pub(super) fn stage(store: &Store, name: &str) -> Installed {
    let schema = number_schema();
    let spec = TableSpec {
        name,
        keys: &[KeyType::Int64],
        schema: &schema,
    };
    store.stage(&spec).unwrap()
}

/// Rows of a release for `table`, which wait on the disk.
pub(super) fn spill(store: &Store, table: &Installed, rows: &[(i64, i64, i64)]) -> Spill {
    let beside = stage(store, "p/v");
    assert_eq!(beside.schema, table.schema);
    let mut bytes = 0;
    for row in rows {
        let write = of_release(table, &[*row]);
        let moved = write.batches[0].moved(beside.table);
        bytes += moved.bytes() as u64;
        let write = Write {
            batches: vec![moved],
            ..Write::default()
        };
        apply(store, &[write]);
    }
    Spill {
        from: beside.table,
        into: table.table,
        rows: rows.len() as u64,
        bytes,
    }
}

/// Asserts that the live table of `name` holds `model`, however it is read.
pub(super) fn holds(store: &Store, name: &str, model: &Model) {
    check(store, install(store, name).table, model);
}

pub(super) fn rows(rows: &[(i64, i64, i64)]) -> Model {
    rows.iter()
        .map(|(id, time, value)| (*id, (*time, None, *value)))
        .collect()
}

#[test]
fn a_staged_table_is_seen_only_once_it_is_released_and_can_be_taken_back() {
    let store = Store::with_backend(Disk::default(), config()).unwrap();
    let old = install(&store, "p/v");
    apply(
        &store,
        &[write(&old, &[(1, 10, None, 1), (2, 10, None, 2)])],
    );
    let staged = stage(&store, "p/v");
    apply(&store, &[of_release(&staged, &[(2, 5, 20), (3, 5, 30)])]);
    holds(&store, "p/v", &rows(&[(1, 10, 1), (2, 10, 2)]));

    let release = Release {
        promote: &[staged.table],
        records: &[("feed", Some(b"v1"))],
        ..Release::default()
    };
    let mut shown = 0;
    let released = store
        .release(&release, &mut |it| shown = it.release)
        .unwrap();
    assert_eq!((shown, released.release, store.load().release()), (1, 1, 1));
    holds(&store, "p/v", &rows(&[(2, 5, 20), (3, 5, 30)]));
    assert_eq!(store.load().record("feed").unwrap().unwrap(), b"v1");
    assert_eq!(store.load().record("other").unwrap(), None);

    // A push that was made for the old table, and one for the new one.
    apply(&store, &[write(&old, &[(4, 11, None, 4)])]);
    apply(&store, &[write(&staged, &[(2, 12, None, 22)])]);
    let both = rows(&[(2, 12, 22), (3, 5, 30), (4, 11, 4)]);
    holds(&store, "p/v", &both);

    let back = Release {
        records: &[("feed", None)],
        ..Release::default()
    };
    store.take_back(&back, &mut |_| {}).unwrap();
    let expect = rows(&[(1, 10, 1), (2, 12, 22), (4, 11, 4)]);
    holds(&store, "p/v", &expect);
    assert_eq!(store.load().record("feed").unwrap(), None);
    store.build_index().unwrap();
    holds(&store, "p/v", &expect);
    assert!(matches!(
        store.take_back(&back, &mut |_| {}),
        Err(Error::NothingToTakeBack)
    ));
}

#[test]
fn a_queued_write_for_a_replaced_table_reaches_the_new_one() {
    let store = Store::with_backend(Disk::default(), config()).unwrap();
    let old = install(&store, "p/v");
    let queued = write(&old, &[(7, 70, None, 7)]);
    let group = crate::Group {
        enqueue: &[queued],
        ..crate::Group::default()
    };
    let ticket = store.apply(&group).unwrap().tickets[0];
    let staged = stage(&store, "p/v");
    let release = Release {
        promote: &[staged.table],
        ..Release::default()
    };
    store.release(&release, &mut |_| {}).unwrap();
    let drain = crate::Group {
        drain_max: 10,
        ..crate::Group::default()
    };
    store.apply(&drain).unwrap();
    holds(&store, "p/v", &rows(&[(7, 70, 7)]));
    let state = store.load().ticket(ticket).unwrap();
    assert!(matches!(
        state,
        Some(TicketState::Applied { written: 1, .. })
    ));
}

/// Key, event time and value.
type Triple = (i64, i64, i64);

/// Releases rows, of which some wait in memory and the others on the disk.
fn release_some(store: &Store, table: &Installed, (held, more): (&[Triple], &[Triple])) {
    let writes = [of_release(table, held)];
    let spills: Vec<Spill> = match more.is_empty() {
        true => Vec::new(),
        false => vec![spill(store, table, more)],
    };
    let release = Release {
        writes: &writes,
        spills: &spills,
        ..Release::default()
    };
    store.release(&release, &mut |_| {}).unwrap();
}

/// What the store should hold: the live content, what the release before left, and who wrote.
#[derive(Clone, Default)]
struct Expect {
    now: BTreeMap<i64, (i64, i64, bool)>,
    before: Option<BTreeMap<i64, (i64, i64, bool)>>,
}

impl Expect {
    fn put(&mut self, id: i64, time: i64, value: i64, of_release: bool) {
        let entry = (time, value, of_release);
        if self.now.get(&id).is_none_or(|old| time >= old.0) {
            self.now.insert(id, entry);
        }
    }

    fn take_back(&mut self, replaced: bool, written: &BTreeMap<i64, (i64, i64, bool)>) {
        let Some(before) = self.before.take() else {
            return;
        };
        let now = std::mem::replace(&mut self.now, before);
        for (id, row) in now {
            // Rows the release wrote go; what others wrote since stays.
            let foreign = if replaced {
                !row.2
            } else {
                written.get(&id) != Some(&row)
            };
            if foreign {
                self.put(id, row.0, row.1, row.2);
            }
        }
    }

    fn model(&self) -> Model {
        self.now
            .iter()
            .map(|(id, (time, value, _))| (*id, (*time, None, *value)))
            .collect()
    }
}

#[test]
fn random_releases_pushes_returns_and_restarts_agree_with_a_model() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let disk = Disk::default();
        let mut store = Store::with_backend(disk.clone(), config()).unwrap();
        let mut table = install(&store, "p/v");
        let mut expect = Expect::default();
        let (mut replaced, mut written) = (false, BTreeMap::new());
        for step in 0..40 {
            // Times never tie: who arrives later is another test's business.
            let batch: Vec<(i64, i64, i64)> = (0..random.below(6))
                .map(|at| {
                    let time = random.below(60) as i64 * 1000 + step * 10 + at as i64;
                    (random.below(8) as i64, time, step * 10 + at as i64)
                })
                .collect();
            match random.below(6) {
                0 | 1 => {
                    let plain: Vec<_> = batch.iter().map(|it| (it.0, it.1, None, it.2)).collect();
                    apply(&store, &[write(&table, &plain)]);
                    batch
                        .iter()
                        .for_each(|it| expect.put(it.0, it.1, it.2, false));
                }
                2 => {
                    release_some(
                        &store,
                        &table,
                        batch.split_at(random.below(batch.len() as u64 + 1) as usize),
                    );
                    expect.before = Some(expect.now.clone());
                    batch
                        .iter()
                        .for_each(|it| expect.put(it.0, it.1, it.2, true));
                    (replaced, written) = (false, expect.now.clone());
                    let before = expect.before.clone().unwrap_or_default();
                    written.retain(|id, row| before.get(id) != Some(row));
                }
                3 => {
                    let staged = stage(&store, "p/v");
                    apply(&store, &[of_release(&staged, &batch)]);
                    let release = Release {
                        promote: &[staged.table],
                        ..Release::default()
                    };
                    store.release(&release, &mut |_| {}).unwrap();
                    expect.before = Some(std::mem::take(&mut expect.now));
                    batch
                        .iter()
                        .for_each(|it| expect.put(it.0, it.1, it.2, true));
                    (replaced, table) = (true, staged);
                }
                4 => {
                    let taken = store.take_back(&Release::default(), &mut |_| {});
                    assert_eq!(taken.is_ok(), expect.before.is_some(), "seed {seed}");
                    expect.take_back(replaced, &written);
                    store.build_index().unwrap();
                    table = install(&store, "p/v");
                }
                _ => {
                    drop(store);
                    store = Store::with_backend(disk.clone(), config()).unwrap();
                    if random.below(2) == 0 {
                        store.build_index().unwrap();
                    }
                }
            }
            println!("seed {seed} step {step}");
            holds(&store, "p/v", &expect.model());
        }
    }
}
