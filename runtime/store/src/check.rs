//! Reading every row to prove that the store is whole.

use std::ops::ControlFlow;

use crate::catalog::Table;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::{CommitSeq, Error, Result, TableId, digest, row};

/// What a check found in one table.
#[derive(Clone, Debug)]
pub struct TableCheck {
    /// The table.
    pub table: TableId,
    /// Its name.
    pub name: String,
    /// Rows that were written.
    pub rows_expected: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Rows whose checksum fails or whose values do not decode.
    pub rows_damaged: u64,
    /// Whether the rows are those that were written, none missing, none changed.
    pub digest_matches: bool,
    /// What kept the table from being read to its end.
    pub error: Option<String>,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The commit that was checked.
    pub commit: CommitSeq,
    /// Every table, retired ones too.
    pub tables: Vec<TableCheck>,
    /// What waits for the centre.
    pub outbox: OutboxCheck,
}

/// What a check found in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxCheck {
    /// Entries that were written and not removed.
    pub entries_expected: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Entries whose checksum fails.
    pub entries_damaged: u64,
}

impl OutboxCheck {
    /// Whether nothing is wrong with it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.entries == self.entries_expected && self.entries_damaged == 0
    }
}

impl TableCheck {
    /// Whether nothing is wrong with the table.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rows == self.rows_expected
            && self.rows_damaged == 0
            && self.digest_matches
            && self.error.is_none()
    }
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.tables.iter().all(TableCheck::is_whole) && self.outbox.is_whole()
    }
}

impl Store {
    /// Reads every row of one commit while the store goes on: checksums, every value, and count and
    /// digest of each table. Damage is in the report, not an error.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`].
    pub fn check(&self) -> Result<CheckReport> {
        let snapshot = self.current.load_full();
        let tables = snapshot
            .tables()
            .map(|(table, _)| check_table(&snapshot, table))
            .collect::<Result<_>>()?;
        Ok(CheckReport {
            commit: snapshot.commit(),
            tables,
            outbox: snapshot.check_outbox()?,
        })
    }
}

fn check_table(snapshot: &Snapshot, table: &Table) -> Result<TableCheck> {
    let stats = snapshot.view(table.id)?.stats;
    let mut report = TableCheck {
        table: table.id,
        name: table.name.to_string(),
        rows_expected: stats.rows,
        rows: 0,
        rows_damaged: 0,
        digest_matches: false,
        error: None,
    };
    let mut digest = 0;
    let mut last: Option<Vec<u8>> = None;
    let mut ordered = true;
    let walked = snapshot.walk(table.id, &mut |key, bytes| {
        report.rows += 1;
        digest ^= digest::of_row(key, bytes);
        if !is_sound(table, key, bytes) {
            report.rows_damaged += 1;
        }
        // A look-up finds only what lies in order.
        ordered &= last.as_deref().is_none_or(|last| last < key);
        last.get_or_insert_default().clone_from(&key.to_vec());
        // A damaged tree must not be walked in circles.
        if report.rows > stats.rows {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    report.error = match walked.and_then(|()| snapshot.stored_rows(table.id)) {
        Ok(rows) if rows != stats.rows => Some(format!("its tree counts {rows} rows")),
        Ok(_) if !ordered => Some("its keys are out of order".to_owned()),
        Ok(_) => None,
        Err(Error::Damaged { reason, .. }) => Some(reason),
        Err(error) => return Err(error),
    };
    report.digest_matches = digest == stats.digest;
    Ok(report)
}

fn is_sound(table: &Table, key: &[u8], bytes: &[u8]) -> bool {
    let Some(row) = row::verify(table.id, key, bytes) else {
        return false;
    };
    let Some(schema) = table.schema_of(row.schema()) else {
        return false;
    };
    let decodes =
        |(slot, field): (usize, &galley_types::Field)| row.cell(slot, field.value_type).is_ok();
    row.slot_count() == schema.fields.len() && schema.fields.iter().enumerate().all(decodes)
}
