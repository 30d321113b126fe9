//! The repo that is measured: Feast's registry of `benches/data`, and Parquet sources for it.
//!
//! Five views of ten doubles over one int64 key. Event times lie on 2026-01-01, a second apart
//! modulo a day; every double has all its digits, as measured values do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::{Random, Result};

/// Feature views in the repo.
pub const VIEWS: usize = 5;
/// Doubles of each view.
pub const FEATURES: usize = 10;
/// 2026-01-01T00:00:00Z in microseconds.
const DAY_US: i64 = 1_767_225_600_000_000;
/// Rows written at once, which is also a row group.
const BATCH_ROWS: usize = 64 << 10;

/// Lays the repo out in `dir` with `rows` rows in each view's source; keeps what fits already.
pub fn repo(dir: &Path, rows: usize) -> Result<()> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    fs::copy(
        from.join("feature_store.yaml"),
        dir.join("feature_store.yaml"),
    )?;
    fs::copy(from.join("registry.db"), data.join("registry.db"))?;
    let stamp = data.join(format!("made-{rows}"));
    if stamp.is_file() {
        return Ok(());
    }
    for view in 0..VIEWS {
        source(
            &data.join(format!("fv_{view}.parquet")),
            &format!("f{view}_"),
            rows,
            view as u64,
        )?;
    }
    source(&data.join("push.parquet"), "p", 0, 99)?;
    fs::write(stamp, "")?;
    Ok(())
}

/// Lays out in `dir` the repo with a transformation over the rows of the first view of `plain`, a
/// repo that [`repo`] made; `isolation` is `fresh` or `pooled`.
pub fn repo_with_transform(dir: &Path, plain: &Path, isolation: &str) -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let from = here.join("data/transforms");
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    fs::copy(
        here.join("data/feature_store.yaml"),
        dir.join("feature_store.yaml"),
    )?;
    fs::copy(from.join("registry.db"), data.join("registry.db"))?;
    fs::copy(plain.join("data/fv_0.parquet"), data.join("fv_0.parquet"))?;
    fs::copy(component(), dir.join("fare_quote.wasm"))?;
    let manifest = fs::read_to_string(from.join("spin.toml"))?;
    fs::write(
        dir.join("spin.toml"),
        manifest.replace("ISOLATION", isolation),
    )?;
    Ok(())
}

/// Lays out in `dir` the repo of `plain` with an offline server on loopback as its offline store.
pub fn repo_with_server(dir: &Path, plain: &Path, port: u16) -> Result<()> {
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let settings = fs::read_to_string(plain.join("feature_store.yaml"))?;
    let server = format!("type: remote\n  host: 127.0.0.1\n  port: {port}");
    fs::write(
        dir.join("feature_store.yaml"),
        settings.replace("type: file", &server),
    )?;
    fs::copy(plain.join("data/registry.db"), data.join("registry.db"))?;
    Ok(())
}

/// The rows of a view's source, in batches.
pub fn batches(prefix: &str, rows: usize) -> Result<Vec<RecordBatch>> {
    let mut random = Random(1);
    (0..rows)
        .step_by(BATCH_ROWS)
        .map(|at| batch(prefix, at..rows.min(at + BATCH_ROWS), &mut random))
        .collect()
}

/// The component that is measured: five numbers in, two out.
pub fn component() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-transforms/components/fare_quote.wasm")
}

fn source(path: &Path, prefix: &str, rows: usize, seed: u64) -> Result<()> {
    let mut random = Random(seed);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = None;
    let mut at = 0;
    while at < rows || writer.is_none() {
        let ids = at..rows.min(at + BATCH_ROWS);
        let batch = batch(prefix, ids.clone(), &mut random)?;
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(ArrowWriter::try_new(
                File::create(path)?,
                batch.schema(),
                Some(properties.clone()),
            )?),
        };
        writer.write(&batch)?;
        at = ids.end.max(1);
    }
    if let Some(writer) = writer {
        writer.close()?;
    }
    Ok(())
}

fn batch(prefix: &str, ids: std::ops::Range<usize>, random: &mut Random) -> Result<RecordBatch> {
    let time = |id: usize| DAY_US + (id as i64 % 86_400) * 1_000_000;
    let times =
        || TimestampMicrosecondArray::from_iter_values(ids.clone().map(time)).with_timezone("UTC");
    let mut columns: Vec<(String, ArrayRef)> = vec![
        (
            "user_id".into(),
            Arc::new(Int64Array::from_iter_values(
                ids.clone().map(|id| id as i64),
            )),
        ),
        ("event_timestamp".into(), Arc::new(times())),
        ("created".into(), Arc::new(times())),
    ];
    for feature in 0..FEATURES {
        let values = Float64Array::from_iter_values(ids.clone().map(|_| random.unit()));
        columns.push((format!("{prefix}{feature}"), Arc::new(values)));
    }
    Ok(RecordBatch::try_from_iter(columns)?)
}
