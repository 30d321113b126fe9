//! `{{ variable }}` in texts, and where the values come from.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::section::nearest;

/// What stands before a variable's name, in capitals, in the environment: `SPIN_VARIABLE_THRESHOLD`.
pub const ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE_";

impl Manifest {
    /// The variables of a component with their values: those of the environment before the
    /// manifest's defaults. `environment` is asked by whole names: `SPIN_VARIABLE_THRESHOLD`.
    ///
    /// # Errors
    /// [`Error::Variable`] when a text names a variable that is not declared, or that has neither
    /// value nor default.
    pub fn variables_of(
        &self,
        component: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>> {
        let Some(found) = self.components.get(component) else {
            return Ok(BTreeMap::new());
        };
        let values = found.variables.iter().map(|(name, text)| {
            let place = format!("{name} of [component.{component}.variables]");
            Ok((name.clone(), self.fill(text, &place, environment)?))
        });
        values.collect()
    }

    /// Where a component may connect to, variables put in; `environment` as for
    /// [`Self::variables_of`].
    ///
    /// # Errors
    /// As [`Self::variables_of`].
    pub fn outbound_hosts_of(
        &self,
        component: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>> {
        let place = format!("allowed_outbound_hosts of [component.{component}]");
        let hosts = self
            .components
            .get(component)
            .map_or(&[][..], |found| &found.allowed_outbound_hosts);
        hosts
            .iter()
            .map(|host| self.fill(host, &place, environment))
            .collect()
    }

    /// `text` with a value for every `{{ name }}`.
    fn fill(
        &self,
        text: &str,
        place: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            let Some((name, behind)) = after.split_once("}}") else {
                return Err(self.unfilled(place, "a '{{' without its '}}'".to_owned()));
            };
            filled.push_str(&self.value(name.trim(), place, environment)?);
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(
        &self,
        name: &str,
        place: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String> {
        let Some(variable) = self.variables.get(name) else {
            let near = nearest(name, self.variables.keys().map(String::as_str))
                .map(|near| format!("; did you mean '{near}'?"))
                .unwrap_or_default();
            return Err(self.unfilled(place, format!("[variables] has no '{name}'{near}")));
        };
        let outside = format!("{ENVIRONMENT_PREFIX}{}", name.to_uppercase());
        environment(&outside)
            .or_else(|| variable.default.clone())
            .ok_or_else(|| {
                self.unfilled(
                    place,
                    format!("variable '{name}' has no value: set {outside} in the environment"),
                )
            })
    }

    fn unfilled(&self, place: &str, reason: String) -> Error {
        Error::Variable {
            path: self.path.clone(),
            place: place.to_owned(),
            reason,
        }
    }
}
