//! `[[trigger.galley]]` and `[[trigger.http]]`: what answers what.

use std::collections::{BTreeMap, HashSet};

use crate::component::Component;
use crate::error::Result;
use crate::section::{Section, nearest};
use crate::settings::{HttpSettings, TransformSettings};

/// A component bound to an on-demand feature view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformTrigger {
    /// Its name, unique in the manifest.
    pub id: String,
    /// The component that answers.
    pub component: String,
    /// The on-demand feature view (`on-demand-feature-view`).
    pub view: String,
    /// The view's project; `None` is whichever project has it.
    pub project: Option<String>,
    /// What it may use.
    pub settings: TransformSettings,
    /// The line of the manifest it begins on, from 1.
    pub line: usize,
}

/// A component that answers HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTrigger {
    /// Its name, unique in the manifest.
    pub id: String,
    /// The component that answers.
    pub component: String,
    /// The path it answers: `/score` for this alone, `/score/...` for all below it too,
    /// `/score/:model` for one step. `None` answers only other components.
    pub route: Option<String>,
    /// What it may use.
    pub settings: HttpSettings,
    /// The line of the manifest it begins on, from 1.
    pub line: usize,
}

/// Ids that are taken, over all kinds of triggers.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashSet<String>);

impl Ids {
    /// The trigger's own id, or one made of its component's.
    fn of(&mut self, section: &Section<'_>, component: &str) -> Result<String> {
        if let Some(id) = section.text("id")? {
            if !self.0.insert(id.clone()) {
                return Err(section.contradiction(format!("two triggers have the id '{id}'")));
            }
            return Ok(id);
        }
        let base = format!("trigger-{component}");
        let mut id = base.clone();
        let mut next = 2_usize;
        while !self.0.insert(id.clone()) {
            id = format!("{base}-{next}");
            next += 1;
        }
        Ok(id)
    }
}

impl TransformTrigger {
    pub(crate) fn read(
        section: Section<'_>,
        components: &BTreeMap<String, Component>,
        ids: &mut Ids,
    ) -> Result<Self> {
        let component = component(&section, components)?;
        let trigger = Self {
            id: ids.of(&section, &component)?,
            component,
            view: section.required_text(
                "on-demand-feature-view",
                "on-demand-feature-view = \"transformed_conv_rate\"",
            )?,
            project: section.text("project")?,
            settings: TransformSettings::read(&section)?,
            line: section.line(),
        };
        section.finish()?;
        Ok(trigger)
    }

    /// Whether both would answer the same view.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let same_project = match (&self.project, &other.project) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.view == other.view && same_project
    }
}

impl HttpTrigger {
    pub(crate) fn read(
        section: Section<'_>,
        components: &BTreeMap<String, Component>,
        ids: &mut Ids,
    ) -> Result<Self> {
        if section.accept("static_response") {
            return Err(section.contradiction(
                "static_response is not served here: let a component answer".to_owned(),
            ));
        }
        let component = component(&section, components)?;
        executor(&section)?;
        let trigger = Self {
            id: ids.of(&section, &component)?,
            component,
            route: route(&section)?,
            settings: HttpSettings::read(&section)?,
            line: section.line(),
        };
        section.finish()?;
        Ok(trigger)
    }
}

/// The component a trigger names.
fn component(section: &Section<'_>, components: &BTreeMap<String, Component>) -> Result<String> {
    if section.holds_table("component") {
        return Err(section.wrong_key(
            "component",
            "the name of a [component.<name>] table; a component written in place is not read",
        ));
    }
    for key in ["components", "dependencies"] {
        if section.accept(key) {
            return Err(section.contradiction(format!(
                "{key} is not supported: compose the component before it is bound"
            )));
        }
    }
    let id = section.required_text("component", "component = \"my-view\"")?;
    if !components.contains_key(&id) {
        let near = nearest(&id, components.keys().map(String::as_str));
        return Err(section.contradiction(format!(
            "there is no [component.{id}]{}",
            near.map(|near| format!("; did you mean '{near}'?"))
                .unwrap_or_default()
        )));
    }
    Ok(id)
}

/// `route`: a path, or `{ private = true }` for none.
fn route(section: &Section<'_>) -> Result<Option<String>> {
    const EXPECTED: &str = "a path such as \"/score\", \"/score/...\" or \"/score/:model\"";
    if section.holds_table("route") {
        if let Some(table) = section.table("route", &format!("route of {}", section.name))? {
            let private = table.flag("private")?;
            table.finish()?;
            if private != Some(true) {
                return Err(section.wrong_key("route", EXPECTED));
            }
        }
        return Ok(None);
    }
    let route = section.parsed("route", EXPECTED, |text| {
        is_route(text).then(|| text.to_owned())
    })?;
    match route {
        Some(route) => Ok(Some(route)),
        None => Err(section.missing("route", "route = \"/score/...\"")),
    }
}

fn is_route(route: &str) -> bool {
    let Some(rest) = route.strip_prefix('/') else {
        return false;
    };
    let mut steps = rest.split('/').peekable();
    while let Some(step) = steps.next() {
        let last = steps.peek().is_none();
        let empty = step.is_empty() && !last;
        let wildcard = step == "..." && !last;
        let unnamed = step == ":";
        let odd = step.contains(|c: char| c.is_whitespace() || c.is_control() || "?#".contains(c));
        if empty || wildcard || unnamed || odd {
            return false;
        }
    }
    true
}

/// `executor`: only components, no WAGI.
fn executor(section: &Section<'_>) -> Result<()> {
    let Some(table) = section.table("executor", &format!("executor of {}", section.name))? else {
        return Ok(());
    };
    table.parsed("type", "\"http\" (others are not served here)", |text| {
        (text == "http").then_some(())
    })?;
    table.finish()
}
