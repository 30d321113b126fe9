//! `galley transform bench`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use galley_transform::{CallContext, Isolation, Transform};
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::commands::transform::host::{Host, context};
use crate::commands::transform::run::input;
use crate::commands::transform::subject;
use crate::commands::transform::values::{Inputs, Row};
use crate::{output, table};

/// Calls that are timed for one figure at most.
const CALLS_MAX: usize = 200_000;
/// Calls before the clock runs.
const WARM_UP: usize = 20;

/// One figure.
struct Figure {
    isolation: &'static str,
    rows: u32,
    calls: usize,
    /// Instances made for them and for those before the clock ran.
    instances: u64,
    p50: Duration,
    p99: Duration,
    rows_per_second: f64,
}

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let time = Duration::try_from_secs_f64(args.seconds)
        .map_err(|error| anyhow!("--seconds {}: {error}", args.seconds))?;
    let host = Host::open()?;
    let subject = subject::one(&args.target, &host)?;
    let rows = input(&args.input, &subject)?;
    let context = context(args.input.now.as_deref(), args.input.seed)?;
    let bytes = subject.bytes()?;
    let mut setup = subject.setup(&args.input.variables)?;
    let loaded = host.code(&bytes, &setup)?;
    let mut figures = Vec::new();
    let mut puts_back = false;
    for (name, isolation) in [("fresh", Isolation::Fresh), ("pooled", Isolation::pooled())] {
        setup.isolation = Some(isolation);
        let transform = host.link(&loaded, &setup)?;
        for count in &args.rows {
            figures.push(measure(
                &transform,
                name,
                &cycle(&rows, *count),
                &context,
                time,
            )?);
        }
        puts_back |= transform.puts_back();
    }
    if args.target.output.json {
        let figures: Vec<Value> = figures.iter().map(Figure::to_json).collect();
        output::json(&json!({
            "name": subject.name,
            "puts_back": puts_back,
            "figures": figures,
        }));
    } else {
        let heading = ["instances", "rows", "p50", "p99", "rows/s", "calls"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        lines.extend(figures.iter().map(Figure::cells));
        output::line(table::lay_out(&lines));
        let fresh = if puts_back {
            "meets an instance that was put back to what it begins with"
        } else {
            "has an instance made for it"
        };
        output::line(format!(
            "\nfresh: every call {fresh}; pooled: calls meet kept instances. Time of the call, \
             without the look-up around it."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// `count` rows, from the beginning again where there are fewer.
fn cycle(rows: &[Row], count: u32) -> Vec<&Row> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    rows.iter().cycle().take(count).collect()
}

fn measure(
    transform: &Transform,
    isolation: &'static str,
    rows: &[&Row],
    context: &CallContext,
    time: Duration,
) -> Result<Figure> {
    let inputs = Inputs::new(transform.signature(), rows.iter().copied())?;
    let columns = inputs.columns();
    let batch = inputs.batch(&columns);
    let made_before = transform.stats().instances;
    for _ in 0..WARM_UP {
        transform.call(context, batch)?;
    }
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.len() < CALLS_MAX && (times.is_empty() || begun.elapsed() < time) {
        let started = Instant::now();
        transform.call(context, batch)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| {
        let index = times.len() * share / 100;
        times
            .get(index.min(times.len() - 1))
            .copied()
            .unwrap_or_default()
    };
    let total: Duration = times.iter().sum();
    Ok(Figure {
        isolation,
        rows: u32::try_from(rows.len())?,
        calls: times.len(),
        instances: transform.stats().instances - made_before,
        p50: at(50),
        p99: at(99),
        rows_per_second: (rows.len() * times.len()) as f64 / total.as_secs_f64(),
    })
}

impl Figure {
    fn cells(&self) -> Vec<String> {
        let micros = |time: Duration| format!("{:.2} us", time.as_secs_f64() * 1e6);
        vec![
            self.isolation.to_owned(),
            self.rows.to_string(),
            micros(self.p50),
            micros(self.p99),
            format!("{:.0}", self.rows_per_second),
            self.calls.to_string(),
        ]
    }

    fn to_json(&self) -> Value {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        json!({
            "isolation": self.isolation,
            "rows": self.rows,
            "calls": self.calls,
            "instances": self.instances,
            "p50_us": micros(self.p50),
            "p99_us": micros(self.p99),
            "rows_per_second": self.rows_per_second,
        })
    }
}
