//! The history of jobs: one file of JSON lines in the data folder, a line when a job begins and one
//! when it ends.
//!
//! A line is written whole and synced before anyone is told of what it says. Of a job with several
//! lines the last one counts; a line that was cut short, or is of a version that is not known, is
//! left out. The file is written anew, beside itself and then renamed, once it has several times
//! as many lines as jobs are kept.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use galley_node::{Idempotency, JobId, JobLog, JobRecord, JobState, JobStatus};
use galley_types::{ErrorKind, EventTime};
use serde::{Deserialize, Serialize};

/// The file in the data folder.
const FILE: &str = "jobs.jsonl";
/// The version of a line.
const VERSION: u32 = 1;
/// Bytes of the file that are read at most; what is larger was not written by us.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 2_000;
/// Lines for each job that is kept, before the file is written anew.
const LINES_PER_JOB: usize = 4;

/// Notes jobs in the data folder.
#[derive(Debug)]
pub(crate) struct JobHistory {
    path: PathBuf,
    kept_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` after an error.
    file: Option<File>,
    lines: usize,
    /// The newest line of each job that is kept.
    newest: BTreeMap<u64, String>,
}

/// One line.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    v: u32,
    id: u64,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schedule: Option<String>,
    state: String,
    views: Vec<String>,
    rows_read: u64,
    rows_written: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows_total: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_kind: Option<String>,
    started_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// SHA-256 of the request, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

const STATES: [(JobState, &str); 5] = [
    (JobState::Running, "running"),
    (JobState::Succeeded, "succeeded"),
    (JobState::Failed, "failed"),
    (JobState::Cancelled, "cancelled"),
    (JobState::Interrupted, "interrupted"),
];

const KINDS: [(ErrorKind, &str); 11] = [
    (ErrorKind::Invalid, "invalid"),
    (ErrorKind::NotFound, "not_found"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::TooLarge, "too_large"),
    (ErrorKind::Busy, "busy"),
    (ErrorKind::Conflict, "conflict"),
    (ErrorKind::Unavailable, "unavailable"),
    (ErrorKind::StorageFull, "storage_full"),
    (ErrorKind::Corrupt, "corrupt"),
    (ErrorKind::Closed, "closed"),
    (ErrorKind::Internal, "internal"),
];

// === impl JobHistory ===

impl JobHistory {
    /// Opens the history in `data_dir`; the jobs in it, the newest `kept_max`, come oldest first. A
    /// file that cannot be read or written is told to the log and no more: a full disk must not
    /// keep a node from serving.
    pub(crate) fn open(data_dir: &Path, kept_max: usize) -> (Self, Vec<JobRecord>) {
        let path = data_dir.join(FILE);
        let warn = |error: &io::Error| {
            let path = path.display();
            tracing::warn!(%path, %error, "the history of jobs cannot be used");
        };
        let text = read(&path).inspect_err(warn).unwrap_or_default();
        let mut newest = BTreeMap::new();
        for line in text.lines() {
            if let Some(record) = Line::parse(line) {
                newest.insert(record.status.id.0, (line.to_owned(), record));
                if newest.len() > kept_max {
                    newest.pop_first();
                }
            }
        }
        let (mut lines, mut records) = (BTreeMap::new(), Vec::new());
        for (id, (line, record)) in newest {
            lines.insert(id, line);
            records.push(record);
        }
        let file = write_anew(&path, &lines).inspect_err(warn).ok();
        let state = State {
            file,
            lines: lines.len(),
            newest: lines,
        };
        let history = Self {
            path,
            kept_max,
            state: Mutex::new(state),
        };
        (history, records)
    }

    fn write(&self, id: u64, line: String) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = format!("{line}\n");
        state.newest.insert(id, line);
        if state.newest.len() > self.kept_max {
            state.newest.pop_first();
        }
        let is_full = state.lines >= self.kept_max.saturating_mul(LINES_PER_JOB);
        // Whatever fails leaves no file, and the next line writes all of it anew: what comes behind
        // a line that was cut short would be lost with it.
        let appended = match state.file.take().filter(|_| !is_full) {
            Some(mut file) => {
                file.write_all(text.as_bytes())?;
                file.sync_data()?;
                state.lines += 1;
                file
            }
            None => {
                let file = write_anew(&self.path, &state.newest)?;
                state.lines = state.newest.len();
                file
            }
        };
        state.file = Some(appended);
        Ok(())
    }
}

impl JobLog for JobHistory {
    fn note(&self, job: &JobRecord) {
        let line = serde_json::to_string(&Line::of(job)).map_err(io::Error::other);
        let written = line.and_then(|line| self.write(job.status.id.0, line));
        if let Err(error) = written {
            let path = self.path.display();
            tracing::warn!(%path, %error, job = job.status.id.0, "job not noted in the history");
        }
    }
}

/// The file's text; what is no text was not written by us, and is left out.
fn read(path: &Path) -> io::Result<String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes the lines to a new file that then takes the place of the old one, and opens it to go on.
fn write_anew(path: &Path, lines: &BTreeMap<u64, String>) -> io::Result<File> {
    let draft = path.with_extension("jsonl.new");
    let mut file = File::create(&draft)?;
    let mut text = String::new();
    for line in lines.values() {
        text.push_str(line);
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    std::fs::rename(&draft, path)?;
    OpenOptions::new().append(true).open(path)
}

// === impl Line ===

impl Line {
    fn of(record: &JobRecord) -> Self {
        let job = &record.status;
        let cut = |text: &String| text.chars().take(ERROR_CHARS_MAX).collect();
        let name = |kind: ErrorKind| named(&KINDS, kind).to_owned();
        let key = record.idempotency.as_ref();
        Self {
            v: VERSION,
            id: job.id.0,
            kind: job.kind.clone().into_owned(),
            schedule: job.schedule.clone(),
            state: named(&STATES, job.state).to_owned(),
            views: job.views.clone(),
            rows_read: job.rows_read,
            rows_written: job.rows_written,
            rows_total: job.rows_total,
            error: job.error.as_ref().map(cut),
            error_kind: job.error_kind.map(name),
            started_us: job.started.0,
            finished_us: job.finished.map(|time| time.0),
            key: key.map(|key| key.key.clone()),
            request: key.map(|key| hex(&key.fingerprint)),
        }
    }

    fn parse(text: &str) -> Option<JobRecord> {
        let line: Self = serde_json::from_str(text).ok()?;
        if line.v != VERSION {
            return None;
        }
        let request = line.request.as_deref().and_then(bytes);
        let idempotency = line
            .key
            .zip(request)
            .map(|(key, fingerprint)| Idempotency { key, fingerprint });
        let status = JobStatus {
            id: JobId(line.id),
            kind: line.kind.into(),
            schedule: line.schedule,
            state: meant(&STATES, &line.state)?,
            views: line.views,
            current_view: None,
            rows_read: line.rows_read,
            rows_written: line.rows_written,
            rows_total: line.rows_total,
            error: line.error,
            error_kind: line.error_kind.and_then(|name| meant(&KINDS, &name)),
            started: EventTime(line.started_us),
            finished: line.finished_us.map(EventTime),
        };
        Some(JobRecord {
            status,
            idempotency,
        })
    }
}

fn named<T: Copy + PartialEq>(names: &[(T, &'static str)], value: T) -> &'static str {
    let found = names.iter().find(|(known, _)| *known == value);
    found.map_or("unknown", |(_, name)| name)
}

fn meant<T: Copy>(names: &[(T, &'static str)], name: &str) -> Option<T> {
    let found = names.iter().find(|(_, known)| *known == name);
    found.map(|(value, _)| *value)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 2 * bytes.len() || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..hex.len()).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64, state: JobState) -> JobRecord {
        JobRecord {
            status: JobStatus {
                id: JobId(id),
                kind: "materialize".into(),
                schedule: Some("nightly".to_owned()),
                state,
                views: vec!["driver_stats".to_owned()],
                current_view: None,
                rows_read: 7,
                rows_written: 5,
                rows_total: Some(9),
                error: Some("no \"such\"\nfile".to_owned()),
                error_kind: Some(ErrorKind::NotFound),
                started: EventTime(-1),
                finished: (state != JobState::Running).then_some(EventTime(3)),
            },
            idempotency: Some(Idempotency {
                key: "k".to_owned(),
                fingerprint: [0xab; 32],
            }),
        }
    }

    fn told(records: &[JobRecord]) -> Vec<String> {
        records.iter().map(|record| format!("{record:?}")).collect()
    }

    #[test]
    fn what_was_noted_comes_back_the_newest_line_of_each_job() {
        let folder = tempfile::tempdir().unwrap();
        let (history, before) = JobHistory::open(folder.path(), 9);
        assert!(before.is_empty());
        let (done, runs) = (record(1, JobState::Failed), record(2, JobState::Running));
        for note in [&record(1, JobState::Running), &runs, &done] {
            history.note(note);
        }
        drop(history);
        let (_, after) = JobHistory::open(folder.path(), 9);
        assert_eq!(told(&after), told(&[done, runs]));
    }

    #[test]
    fn a_damaged_file_gives_what_is_whole_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (history, _) = JobHistory::open(folder.path(), 9);
        history.note(&record(1, JobState::Succeeded));
        history.note(&record(2, JobState::Running));
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for cut in [whole.len() - 2, whole.len() / 2 + 20] {
            let mut torn = b"\xff\xfe\n{\"v\":2,\"id\":8}\n".to_vec();
            torn.extend_from_slice(&whole[..cut]);
            std::fs::write(&path, torn).unwrap();
            let (_, after) = JobHistory::open(folder.path(), 9);
            assert_eq!(told(&after), told(&[record(1, JobState::Succeeded)]));
        }
    }

    #[test]
    fn the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let (history, _) = JobHistory::open(folder.path(), 3);
        for id in 1..=200 {
            history.note(&record(id, JobState::Running));
            history.note(&record(id, JobState::Succeeded));
        }
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.lines().count() <= 12, "{}", text.lines().count());
        drop(history);
        let (_, after) = JobHistory::open(folder.path(), 3);
        let ids: Vec<u64> = after.iter().map(|record| record.status.id.0).collect();
        assert_eq!(ids, [198, 199, 200]);
    }

    #[test]
    fn a_history_that_cannot_be_written_is_written_once_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("jobs.jsonl.new");
        std::fs::create_dir(&blocked).unwrap();
        let (history, _) = JobHistory::open(folder.path(), 9);
        history.note(&record(1, JobState::Succeeded));
        assert!(!folder.path().join(FILE).try_exists().unwrap());
        std::fs::remove_dir(&blocked).unwrap();
        history.note(&record(2, JobState::Succeeded));
        let (_, after) = JobHistory::open(folder.path(), 9);
        let both = [
            record(1, JobState::Succeeded),
            record(2, JobState::Succeeded),
        ];
        assert_eq!(told(&after), told(&both));
    }
}
