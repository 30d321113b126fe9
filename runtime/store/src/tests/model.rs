use std::path::PathBuf;

use proptest::prelude::*;

use super::support::{Model, Plain, check, config, install, model_apply, write};
use crate::{Group, Store, TicketState};

#[derive(Clone, Debug)]
enum Action {
    /// Direct writes, writes to queue, how many queued ones to apply.
    Apply(Vec<Vec<Plain>>, Vec<Vec<Plain>>, usize),
    BuildIndex,
    Reopen,
}

fn rows() -> impl Strategy<Value = Vec<Plain>> {
    let row = (
        0..12_i64,
        0..6_i64,
        proptest::option::of(0..3_i64),
        any::<i16>(),
    )
        .prop_map(|(key, time, created, value)| (key, time, created, i64::from(value)));
    proptest::collection::vec(row, 0..20)
}

fn action() -> impl Strategy<Value = Action> {
    let writes = || proptest::collection::vec(rows(), 0..4);
    prop_oneof![
        6 => (writes(), writes(), 0..4_usize)
            .prop_map(|(direct, queued, drain)| Action::Apply(direct, queued, drain)),
        1 => Just(Action::BuildIndex),
        1 => Just(Action::Reopen),
    ]
}

fn run(actions: &[Action]) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("store.redb");
    let open = || Store::open(&path, config(), &mut |_| {}).unwrap();
    let mut store = open();
    let table = install(&store, "t");
    let mut model = Model::new();
    let mut queue: Vec<(u64, Vec<Plain>)> = Vec::new();
    for action in actions {
        match action {
            Action::Apply(direct, queued, drain) => {
                let pack = |all: &[Vec<Plain>]| -> Vec<_> {
                    all.iter().map(|rows| write(&table, rows)).collect()
                };
                let (writes, enqueue) = (pack(direct), pack(queued));
                let group = Group {
                    writes: &writes,
                    enqueue: &enqueue,
                    drain_max: *drain,
                };
                let applied = store.apply(&group).unwrap();
                assert_eq!(applied.drained, queue.len().min(*drain));
                for (ticket, rows) in queue.drain(..applied.drained) {
                    let outcome = model_apply(&mut model, &rows);
                    let state = TicketState::Applied {
                        written: outcome.written,
                        superseded: outcome.superseded,
                    };
                    assert_eq!(store.load().ticket(ticket).unwrap(), Some(state));
                }
                let expect: Vec<_> = direct
                    .iter()
                    .map(|rows| model_apply(&mut model, rows))
                    .collect();
                assert_eq!(applied.outcomes, expect);
                queue.extend(applied.tickets.iter().copied().zip(queued.iter().cloned()));
                assert_eq!(applied.queued, queue.len() as u64);
            }
            Action::BuildIndex => store.build_index().unwrap(),
            Action::Reopen => {
                drop(store);
                store = open();
            }
        }
        check(&store, table.table, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn any_history_leaves_what_the_event_time_rule_says(
        actions in proptest::collection::vec(action(), 1..10),
    ) {
        run(&actions);
    }
}

#[test]
fn the_index_catches_up_with_commits_made_while_it_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    let table = install(&store, "t");
    let rows: Vec<Plain> = (0..20_000).map(|id| (id, 1, None, id)).collect();
    let mut model = Model::new();
    model_apply(&mut model, &rows);
    super::support::apply(&store, &[write(&table, &rows)]);
    drop(store);
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    std::thread::scope(|scope| {
        let building = scope.spawn(|| store.build_index());
        for round in 0..50 {
            let rows: Vec<Plain> = (0..30)
                .map(|i| ((round * 997 + i * 13) % 25_000, 2 + round % 3, None, i))
                .collect();
            model_apply(&mut model, &rows);
            super::support::apply(&store, &[write(&table, &rows)]);
        }
        building.join().unwrap().unwrap();
    });
    assert!(store.stats().index_ready);
    assert_eq!(store.stats().tables[0].index, crate::IndexState::Ready);
    check(&store, table.table, &model);
}

#[test]
fn a_snapshot_does_not_change_while_commits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.redb"), config(), &mut |_| {}).unwrap();
    let (a, b) = (install(&store, "a"), install(&store, "b"));
    let value = |table: &crate::Installed, snapshot: &crate::Snapshot| {
        let bytes = snapshot.get(table.table, &super::support::key(1)).unwrap();
        bytes.map(|bytes| super::support::unpack(&bytes).2)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..100 {
                let row = [(1, round, None, round)];
                super::support::apply(&store, &[write(&a, &row), write(&b, &row)]);
            }
        });
        let mut last = None;
        while last < Some(99) {
            let snapshot = store.load();
            let now = value(&a, &snapshot);
            assert_eq!(now, value(&b, &snapshot), "both tables are of one commit");
            assert!(now >= last, "time does not run backwards");
            last = now;
        }
    });
}
