//! What an HTTP component is configured with.

use std::collections::BTreeMap;

use crate::HttpLimits;

/// One `[[trigger.http]]` of the manifest, and the component it names.
#[derive(Clone, Debug, Default)]
pub struct HttpComponentConfig {
    /// The component's name in the manifest; in messages, metrics and the log.
    pub name: String,
    /// The paths it answers: `/exact`, `/with/:parameter`, `/below/...`.
    pub route: String,
    /// The component.
    pub bytes: Vec<u8>,
    /// Why the component cannot be had, instead of it: it is refused with this reason.
    pub missing: Option<String>,
    /// `[component.X.variables]`.
    pub variables: BTreeMap<String, String>,
    /// `[component.X] environment`.
    pub environment: BTreeMap<String, String>,
    /// `[component.X] allowed_outbound_hosts`: `http://host:port`, `*://host:port`, `http://*:port`,
    /// `*`.
    pub allowed_outbound_hosts: Vec<String>,
    /// `[component.X] key_value_stores`.
    pub key_value_stores: Vec<String>,
    /// What it may use.
    pub limits: HttpLimits,
}

/// What all HTTP components of a process share. Settable under `[application.trigger.http]` in
/// spin.toml, by the name given in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpEngineConfig {
    /// Threads that run guests, and nothing else (`threads`); `None` takes half of the cores, so
    /// that look-ups keep the other half whatever guests do.
    pub threads: Option<usize>,
    /// Instances alive at the same time, of all components (`max-instances`).
    pub instances_max: u32,
    /// Core instances alive at the same time (`max-total-core-instances`).
    pub core_instances_max: u32,
    /// The highest `max-memory` a component may be given (`max-instance-memory`).
    pub memory_bytes_max: usize,
    /// The highest `max-table-elements` a component may be given (`max-instance-table-elements`).
    pub table_elements_max: usize,
    /// Stack of a call (`max-stack`).
    pub stack_bytes_max: usize,
    /// Memory kept resident in each place an instance has left, for the next one (`keep-resident`).
    pub keep_resident_bytes: usize,
}

impl Default for HttpEngineConfig {
    fn default() -> Self {
        Self {
            threads: None,
            instances_max: 128,
            core_instances_max: 2_048,
            memory_bytes_max: 256 << 20,
            table_elements_max: 20_000,
            stack_bytes_max: 512 << 10,
            keep_resident_bytes: 256 << 10,
        }
    }
}
