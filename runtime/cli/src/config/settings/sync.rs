//! Following a feed.

use std::path::PathBuf;

use super::{HIDDEN, Setting, duration, show_duration, show_size, shown, size};

/// The settings of `[sync]`.
pub(super) const SYNC: &[Setting] = &[
    Setting {
        key: "sync.feed",
        help: "The feed to follow instead of a repo: a folder, an http(s) URL or that of a bucket",
        apply: |config, text| {
            config.feed = Some(text.to_owned());
            Ok(())
        },
        show: |config| config.feed.as_deref().map(shown).unwrap_or_default(),
    },
    Setting {
        key: "sync.root",
        help: "The feed's root metadata, brought here by a way that is trusted",
        apply: |config, text| {
            config.feed_root = Some(PathBuf::from(text));
            Ok(())
        },
        show: |config| {
            let root = config.feed_root.as_ref();
            root.map_or_else(String::new, |root| root.display().to_string())
        },
    },
    Setting {
        key: "sync.token",
        help: "Bearer token for the web server that has the feed",
        apply: |config, text| {
            config.feed_token = (!text.is_empty()).then(|| text.to_owned());
            Ok(())
        },
        show: |config| match config.feed_token {
            Some(_) => HIDDEN.to_owned(),
            None => String::new(),
        },
    },
    setting!(
        "sync.interval",
        duration,
        agent.interval,
        "How often the feed is looked at"
    ),
    setting!(
        "sync.backoff_max",
        duration,
        agent.backoff_max,
        "The longest wait between looks that fail"
    ),
    Setting {
        key: "sync.project",
        help: "The Feast project to serve; that of the feed unless set",
        apply: |config, text| {
            config.agent.project = Some(text.to_owned());
            Ok(())
        },
        show: |config| config.agent.project.clone().unwrap_or_default(),
    },
    setting!(
        "sync.views",
        names,
        agent.views,
        "Feature views whose rows are wanted; all unless views, services or tags are named"
    ),
    setting!(
        "sync.services",
        names,
        agent.services,
        "Feature services whose views' rows are wanted"
    ),
    setting!(
        "sync.tags",
        names,
        agent.tags,
        "Tags, as key=value, of feature views whose rows are wanted"
    ),
    setting!(
        "sync.memory_max",
        size,
        agent.memory_max,
        "Bytes of rows on top of those there are that wait in memory; more wait on the disk"
    ),
    Setting {
        key: "sync.bandwidth_max",
        help: "Bytes a second fetched from the feed; 0 for no bound",
        apply: |config, text| {
            config.agent.bandwidth_max = Some(size(text)?).filter(|bound| *bound > 0);
            Ok(())
        },
        show: |config| show_size(config.agent.bandwidth_max.unwrap_or(0)),
    },
];
