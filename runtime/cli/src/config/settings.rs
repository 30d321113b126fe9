//! The table of settings.

use std::path::PathBuf;
use std::time::Duration;

use galley_sync::remote::shown;

use super::units::{count, duration, show_duration, show_size, size, switch};
use super::{LogFormat, Setting};

/// A setting whose field is of one of the common kinds.
macro_rules! setting {
    ($key:literal, count, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            help: $help,
            apply: |config, text| { config.$($field).+ = count(text)?; Ok(()) },
            show: |config| config.$($field).+.to_string(),
        }
    };
    ($key:literal, size, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            help: $help,
            apply: |config, text| {
                config.$($field).+ =
                    size(text)?.try_into().map_err(|_| "too large here".to_owned())?;
                Ok(())
            },
            show: |config| show_size(u64::try_from(config.$($field).+).unwrap_or(u64::MAX)),
        }
    };
    ($key:literal, duration, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            help: $help,
            apply: |config, text| { config.$($field).+ = duration(text)?; Ok(()) },
            show: |config| show_duration(config.$($field).+),
        }
    };
    ($key:literal, names, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            help: $help,
            apply: |config, text| {
                let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                config.$($field).+ = names.map(str::to_owned).collect();
                Ok(())
            },
            show: |config| config.$($field).+.join(","),
        }
    };
    ($key:literal, objective, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            help: $help,
            apply: |config, text| { config.$($field).+ = objective(text)?; Ok(()) },
            show: |config| show_objective(config.$($field).+),
        }
    };
    ($key:literal, switch, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            help: $help,
            apply: |config, text| { config.$($field).+ = switch(text)?; Ok(()) },
            show: |config| config.$($field).+.to_string(),
        }
    };
}

/// Stands for a secret that is set.
const HIDDEN: &str = "(hidden)";
mod limits;
mod sync;

/// A duration or `none`.
fn objective(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "none" => Ok(None),
        text => duration(text).map(Some),
    }
}

fn show_objective(objective: Option<Duration>) -> String {
    objective.map_or_else(|| "none".to_owned(), show_duration)
}

/// Every setting, in the order in which they are shown.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(sync::SYNC).chain(limits::LIMITS)
}

/// Every setting but those of files of their own.
const SETTINGS: &[Setting] = &[
    Setting {
        key: "feast.repo",
        help: "The Feast repo: the folder with feature_store.yaml",
        apply: |config, text| {
            config.repo = PathBuf::from(text);
            Ok(())
        },
        show: |config| config.repo.display().to_string(),
    },
    setting!(
        "feast.python_quirks",
        switch,
        node.python_quirks,
        "Behave as Feast's Python server: ignore the time to live, answer a stored null as PRESENT"
    ),
    setting!(
        "feast.registry_poll",
        duration,
        registry_poll,
        "How often the registry file is looked at, beside watching it"
    ),
    Setting {
        key: "feast.token",
        help: "Bearer token for Feast's registry and offline servers",
        apply: |config, text| {
            config.feast_token = (!text.is_empty()).then(|| text.to_owned());
            Ok(())
        },
        show: |config| match config.feast_token {
            Some(_) => HIDDEN.to_owned(),
            None => String::new(),
        },
    },
    Setting {
        key: "remote.ca_file",
        help: "PEM file of certificates that are trusted beside those of the system",
        apply: |config, text| {
            config.remote.ca_file = Some(PathBuf::from(text));
            Ok(())
        },
        show: |config| {
            let path = config.remote.ca_file.as_ref();
            path.map_or_else(String::new, |path| path.display().to_string())
        },
    },
    setting!(
        "remote.connect_timeout",
        duration,
        remote.connect_timeout,
        "How long a connection to a registry, source or feed may take to be made"
    ),
    setting!(
        "remote.read_timeout",
        duration,
        remote.read_timeout,
        "How long the other side of such a connection may stay silent"
    ),
    Setting {
        key: "transforms.manifest",
        help: "The manifest that binds components to on-demand feature views",
        apply: |config, text| {
            config.manifest = Some(PathBuf::from(text));
            Ok(())
        },
        show: |config| config.manifest().display().to_string(),
    },
    setting!(
        "transforms.poll",
        duration,
        transforms_poll,
        "How often the manifest and its components are looked at, beside watching the manifest"
    ),
    Setting {
        key: "server.listen",
        help: "Address and port of the HTTP server",
        apply: |config, text| {
            config.api.listen = text
                .parse()
                .map_err(|_| format!("expected address:port such as 0.0.0.0:6566, got '{text}'"))?;
            Ok(())
        },
        show: |config| config.api.listen.to_string(),
    },
    Setting {
        key: "server.workers",
        help: "Threads that answer requests; auto is one for each core",
        apply: |config, text| {
            config.api.workers = if text == "auto" {
                None
            } else {
                Some(count(text)?)
            };
            if config.api.workers == Some(0) {
                return Err("at least one worker is needed".to_owned());
            }
            Ok(())
        },
        show: |config| {
            config
                .api
                .workers
                .map_or_else(|| "auto".to_owned(), |it| it.to_string())
        },
    },
    setting!(
        "server.header_timeout",
        duration,
        api.header_timeout,
        "How long a request's head may take"
    ),
    setting!(
        "server.body_idle_timeout",
        duration,
        api.body_idle_timeout,
        "How long a request's body may pause"
    ),
    setting!(
        "server.body_timeout",
        duration,
        api.body_timeout,
        "How long a request's body may take"
    ),
    setting!(
        "server.response_stall_timeout",
        duration,
        api.response_stall_timeout,
        "How long a caller may take no byte of an answer"
    ),
    setting!(
        "server.keep_alive_idle",
        duration,
        api.keep_alive_idle,
        "How long a connection may wait for its next request"
    ),
    setting!(
        "server.linger_timeout",
        duration,
        api.linger_timeout,
        "How long a refused request's rest is read so that its answer arrives"
    ),
    setting!(
        "server.retry_after",
        duration,
        api.retry_after,
        "What a busy server tells callers to wait"
    ),
    setting!(
        "server.drain_timeout",
        duration,
        api.drain_timeout,
        "How long requests may take to finish when the server stops"
    ),
    Setting {
        key: "store.data_dir",
        help: "The folder of the online store; .galley in the repo unless set",
        apply: |config, text| {
            config.data_dir = Some(PathBuf::from(text));
            Ok(())
        },
        show: |config| config.data_dir().display().to_string(),
    },
    setting!(
        "store.index_memory_max",
        size,
        store.index_bytes_max,
        "Memory of the read index; views beyond it are read from the store (a quarter of memory)"
    ),
    setting!(
        "store.cache_memory_max",
        size,
        store.cache_bytes,
        "Memory of the store's page cache (a quarter of memory)"
    ),
    setting!(
        "store.free_space_min",
        size,
        store.free_space_min_bytes,
        "Writes are refused below this much free disk, but never for more than a quarter of it"
    ),
    setting!(
        "store.free_space_min_percent",
        count,
        store.free_space_min_percent,
        "The same in percent of the disk; the larger of the two counts"
    ),
    Setting {
        key: "outbox.to",
        help: "Where rows pushed to the offline store go: a folder or bucket for Parquet, or grpc://host:port of feast serve_offline",
        apply: |config, text| {
            config.outbox.to = (!text.is_empty()).then(|| text.to_owned());
            Ok(())
        },
        show: |config| config.outbox.to.as_deref().map(shown).unwrap_or_default(),
    },
    setting!(
        "outbox.bytes_max",
        size,
        outbox.limits.bytes_max,
        "What may wait to be sent; pushes to the offline store beyond it are refused"
    ),
    setting!(
        "outbox.age_max",
        duration,
        outbox.limits.age_max,
        "How long something may wait before further pushes to the offline store are refused"
    ),
    setting!(
        "outbox.park_after",
        count,
        outbox.drain.park_after,
        "How often the centre may refuse something for good before it is parked and the rest goes on; 0 for never"
    ),
    setting!(
        "outbox.batch_bytes_max",
        size,
        outbox.drain.bytes_max,
        "What is sent at once"
    ),
    setting!(
        "outbox.batch_wait",
        duration,
        outbox.drain.wait_max,
        "How long pushes are gathered before they are sent"
    ),
    setting!(
        "logs.enabled",
        switch,
        node.logs.enabled,
        "Whether look-ups of services with a LoggingConfig are sampled into the outbox"
    ),
    Setting {
        key: "logs.sample_percent",
        help: "How many of a hundred such look-ups are kept; auto is what the service says",
        apply: |config, text| {
            config.node.logs.sample_percent = match text {
                "auto" => None,
                text => Some(count(text)?),
            };
            if config.node.logs.sample_percent > Some(100) {
                return Err("expected a whole number from 0 to 100, or auto".to_owned());
            }
            Ok(())
        },
        show: |config| {
            let percent = config.node.logs.sample_percent;
            percent.map_or_else(|| "auto".to_owned(), |it| it.to_string())
        },
    },
    setting!(
        "materialize.memory_max",
        size,
        materialize.memory_max,
        "Memory for a view's newest rows; a view that fits is stored by one commit"
    ),
    setting!(
        "materialize.decode_max",
        size,
        materialize.decode_bytes_max,
        "Pages of a Parquet file that are held at a time, unpacked; files that need more are refused"
    ),
    setting!(
        "materialize.download_max",
        size,
        materialize.download_bytes_max,
        "A file of a bucket or web server, which lies on disk while it is read"
    ),
    setting!(
        "materialize.message_max",
        size,
        offline.message_bytes_max,
        "One batch of Feast's offline server, which is held in memory"
    ),
    setting!(
        "materialize.server_timeout",
        duration,
        offline.timeout,
        "How long Feast's offline server may stay silent while it computes"
    ),
    setting!(
        "freshness.default",
        objective,
        node.freshness.default,
        "How old the newest event time of a view may be; [freshness.views] for single views"
    ),
    setting!(
        "freshness.snapshot",
        objective,
        node.freshness.snapshot,
        "How long ago the registry may last have been found to be its source's"
    ),
    setting!(
        "freshness.feed",
        objective,
        node.freshness.feed,
        "How long ago the feed may last have been found to be its source's"
    ),
    Setting {
        key: "log.level",
        help: "error, warn, info, debug or trace; galley_api=debug,info for one part",
        apply: |config, text| {
            tracing_subscriber::EnvFilter::try_new(text)
                .map_err(|_| format!("expected a level such as info, got '{text}'"))?;
            text.clone_into(&mut config.log_level);
            Ok(())
        },
        show: |config| config.log_level.clone(),
    },
    Setting {
        key: "log.format",
        help: "text or json",
        apply: |config, text| {
            config.log_format = match text {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("expected text or json, got '{text}'")),
            };
            Ok(())
        },
        show: |config| match config.log_format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        },
    },
];
