//! Transformations bound to the registry's on-demand feature views.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use galley_registry::{InputColumn, InputSource, OnDemandView, Registry};
use galley_transform::{DataType, Field, Signature, Transform};
use galley_types::ValueType;

use crate::{Error, Result};

/// What becomes of a look-up when a transformation it needs fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The look-up fails with the reason.
    #[default]
    Fail,
    /// The transformation's outputs are null.
    Null,
}

/// A component offered for an on-demand feature view.
#[derive(Clone, Debug)]
pub struct TransformOffer {
    /// The project of the view; `None`: whichever is served.
    pub project: Option<String>,
    /// The view.
    pub view: String,
    /// The component's name in the manifest.
    pub component: String,
    /// The component, loaded, or why it could not be.
    pub transform: std::result::Result<Arc<Transform>, String>,
    /// What becomes of look-ups when it fails.
    pub on_error: OnError,
}

/// One field of a component's signature beside the view's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldCheck {
    /// `input`, `output` or `view`.
    pub what: &'static str,
    /// The field's name.
    pub name: String,
    /// What the registry has; `None` for a field it does not have.
    pub expected: Option<String>,
    /// What the component has; `None` for a field it does not have.
    pub got: Option<String>,
    /// Whether they fit.
    pub fits: bool,
}

/// What stands behind an on-demand feature view.
#[derive(Clone, Debug)]
pub struct TransformStatus {
    /// The view.
    pub view: String,
    /// Whether its rows are computed when they are written, not when they are read.
    pub at_write: bool,
    /// The component's name in the manifest, where one is bound.
    pub component: Option<String>,
    /// Whether it is in use.
    pub state: TransformState,
    /// The component, where it could be loaded.
    pub transform: Option<Arc<Transform>>,
}

/// Whether a view's component is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransformState {
    /// It is.
    Ready,
    /// It does not fit the view or could not be loaded, for these reasons.
    Quarantined(Vec<String>),
    /// There is none.
    Missing,
    /// It is bound to a view that the registry does not have.
    Unused,
}

/// A view's transformation in a generation.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    Ready(Arc<Bound>),
    /// Why the component is not used: one sentence each.
    Quarantined {
        component: String,
        reasons: Vec<String>,
        transform: Option<Arc<Transform>>,
    },
}

/// A transformation that fits its view.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) component: String,
    pub(crate) transform: Arc<Transform>,
    /// In the order of the signature.
    pub(crate) inputs: Box<[BoundInput]>,
    /// For each feature of the view, the column of the transformation's answer.
    pub(crate) outputs: Box<[usize]>,
    pub(crate) on_error: OnError,
}

/// Where a transformation's input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoundInput {
    /// The column, feature or key, without its view.
    pub(crate) name: String,
    pub(crate) value_type: ValueType,
    pub(crate) data_type: DataType,
    pub(crate) source: BoundSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoundSource {
    Feature { source: usize, feature: usize },
    JoinKey { source: usize, key: usize },
    Request,
}

/// The transformations of a generation by view.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    by_view: HashMap<String, Binding>,
    /// Offers for views that the registry does not have.
    unused: Vec<TransformOffer>,
}

// === impl Bindings ===

impl Bindings {
    /// Checks every offer against the registry. What does not fit is kept out of service for its
    /// view alone.
    pub(crate) fn new(registry: &Registry, offers: &[TransformOffer]) -> Self {
        let mut bindings = Self::default();
        for offer in offers {
            let is_ours = offer
                .project
                .as_deref()
                .is_none_or(|project| project == registry.project());
            match registry.find_any_on_demand_view(&offer.view) {
                Some(view) if is_ours => {
                    let binding = bind(registry, view, offer);
                    if let Binding::Quarantined {
                        component, reasons, ..
                    } = &binding
                    {
                        tracing::warn!(
                            view = view.name,
                            component,
                            ?reasons,
                            "transform quarantined"
                        );
                    }
                    bindings.by_view.insert(view.name.clone(), binding);
                }
                _ => bindings.unused.push(offer.clone()),
            }
        }
        bindings
    }

    /// The transformation of a view, where it is fit for use.
    pub(crate) fn ready(&self, view: &str) -> Result<&Arc<Bound>> {
        match self.by_view.get(view) {
            Some(Binding::Ready(bound)) => Ok(bound),
            Some(Binding::Quarantined {
                component, reasons, ..
            }) => Err(Error::TransformQuarantined {
                view: view.to_owned(),
                component: component.clone(),
                reasons: reasons.join("; "),
            }),
            None => Err(Error::TransformMissing {
                view: view.to_owned(),
            }),
        }
    }

    /// What stands behind each on-demand feature view, and behind offers for no view.
    pub(crate) fn status(&self, registry: &Registry) -> Vec<TransformStatus> {
        let views = registry.all_on_demand_views().map(|view| {
            let (component, state, transform) = match self.by_view.get(&view.name) {
                Some(Binding::Ready(bound)) => (
                    Some(bound.component.clone()),
                    TransformState::Ready,
                    Some(Arc::clone(&bound.transform)),
                ),
                Some(Binding::Quarantined {
                    component,
                    reasons,
                    transform,
                }) => (
                    Some(component.clone()),
                    TransformState::Quarantined(reasons.clone()),
                    transform.clone(),
                ),
                None => (None, TransformState::Missing, None),
            };
            TransformStatus {
                view: view.name.clone(),
                at_write: registry.find_view(&view.name).is_some(),
                component,
                state,
                transform,
            }
        });
        let unused = self.unused.iter().map(|offer| TransformStatus {
            view: offer.view.clone(),
            at_write: false,
            component: Some(offer.component.clone()),
            state: TransformState::Unused,
            transform: offer.transform.as_ref().ok().cloned(),
        });
        views.chain(unused).collect()
    }
}

fn bind(registry: &Registry, view: &OnDemandView, offer: &TransformOffer) -> Binding {
    let quarantined = |reasons: Vec<String>| Binding::Quarantined {
        component: offer.component.clone(),
        reasons,
        transform: offer.transform.as_ref().ok().cloned(),
    };
    let transform = match &offer.transform {
        Ok(transform) => transform,
        Err(reason) => return quarantined(vec![reason.clone()]),
    };
    let signature = transform.signature();
    let columns = registry.input_columns(view);
    let reasons: Vec<String> = check_signature(registry, view, signature)
        .iter()
        .filter(|check| !check.fits)
        .map(FieldCheck::to_string)
        .collect();
    if !reasons.is_empty() {
        return quarantined(reasons);
    }
    let inputs = signature.inputs.iter();
    let outputs = view.schema.fields.iter().map(|feature| {
        let mut outputs = signature.outputs.iter();
        outputs.position(|output| output.name == feature.name)
    });
    let bound = inputs
        .map(|field| bound_input(field, &columns))
        .collect::<Option<Box<[_]>>>()
        .zip(outputs.collect::<Option<Box<[_]>>>());
    match bound {
        Some((inputs, outputs)) => Binding::Ready(Arc::new(Bound {
            component: offer.component.clone(),
            transform: Arc::clone(transform),
            inputs,
            outputs,
            on_error: offer.on_error,
        })),
        None => quarantined(vec!["its fields do not fit the view's".to_owned()]),
    }
}

fn bound_input(field: &Field, columns: &[InputColumn<'_>]) -> Option<BoundInput> {
    let Found::One(column) = find(&field.name, columns) else {
        return None;
    };
    Some(BoundInput {
        name: column.name.to_owned(),
        value_type: column.value_type,
        data_type: field.data_type,
        source: match column.source {
            InputSource::Feature {
                source, feature, ..
            } => BoundSource::Feature { source, feature },
            InputSource::JoinKey { source, key } => BoundSource::JoinKey { source, key },
            InputSource::Request => BoundSource::Request,
        },
    })
}

/// Compares what a component says of itself with the view it is to compute, field by field: the
/// view's name, every input it asks for, every feature of the view, every output too many.
#[must_use]
pub fn check_signature(
    registry: &Registry,
    view: &OnDemandView,
    signature: &Signature,
) -> Vec<FieldCheck> {
    let columns = registry.input_columns(view);
    let mut checks = vec![FieldCheck {
        what: "view",
        name: view.name.clone(),
        expected: Some(view.name.clone()),
        got: Some(signature.name.clone()),
        fits: view.name == signature.name,
    }];
    checks.extend(signature.inputs.iter().map(|field| {
        let (expected, fits) = match find(&field.name, &columns) {
            Found::One(column) => (
                Some(type_text(column.value_type)),
                field.data_type.takes(column.value_type),
            ),
            Found::Several(names) => (Some(format!("one of {}", names.join(", "))), false),
            Found::None => (None, false),
        };
        FieldCheck {
            what: "input",
            name: field.name.clone(),
            expected,
            got: Some(field.data_type.to_string()),
            fits,
        }
    }));
    checks.extend(view.schema.fields.iter().map(|feature| {
        let mut outputs = signature.outputs.iter();
        let output = outputs.find(|output| output.name == feature.name);
        FieldCheck {
            what: "output",
            name: feature.name.clone(),
            expected: Some(type_text(feature.value_type)),
            got: output.map(|output| output.data_type.to_string()),
            fits: output.is_some_and(|output| output.data_type.gives(feature.value_type)),
        }
    }));
    let is_feature = |name: &str| view.schema.fields.iter().any(|field| field.name == name);
    let extra = signature
        .outputs
        .iter()
        .filter(|output| !is_feature(&output.name));
    checks.extend(extra.map(|output| FieldCheck {
        what: "output",
        name: output.name.clone(),
        expected: None,
        got: Some(output.data_type.to_string()),
        fits: false,
    }));
    checks
}

/// A type of Feast's with the type it crosses as.
fn type_text(value_type: ValueType) -> String {
    format!("{} for {value_type}", DataType::of(value_type))
}

enum Found<'c, 'a> {
    None,
    One(&'c InputColumn<'a>),
    /// Full names of the features that have the short name.
    Several(Vec<String>),
}

/// The column an input's name stands for: a feature by its name or as `view__feature`, else a request
/// column, else a join key.
fn find<'c, 'a>(name: &str, columns: &'c [InputColumn<'a>]) -> Found<'c, 'a> {
    let full = |column: &InputColumn<'_>| match column.source {
        InputSource::Feature { view, .. } => Some(format!("{view}__{}", column.name)),
        _ => None,
    };
    let features: Vec<_> = columns
        .iter()
        .filter(|column| {
            let named = column.name == name;
            full(column).is_some_and(|full| named || full == name)
        })
        .collect();
    match features.as_slice() {
        [] => {}
        [one] => return Found::One(one),
        several => {
            let exact = several
                .iter()
                .find(|it| full(it).is_some_and(|full| full == name));
            return match exact {
                Some(column) => Found::One(column),
                None => Found::Several(several.iter().filter_map(|it| full(it)).collect()),
            };
        }
    }
    let named = |column: &&InputColumn<'_>| column.name == name;
    let is_request = |column: &&InputColumn<'_>| column.source == InputSource::Request;
    let requested = columns.iter().filter(is_request).find(named);
    match requested.or_else(|| columns.iter().find(named)) {
        Some(column) => Found::One(column),
        None => Found::None,
    }
}

impl fmt::Display for FieldCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, name, .. } = self;
        match (&self.expected, &self.got) {
            (Some(expected), Some(got)) if self.what == "view" => {
                write!(f, "it implements the view '{got}', expected '{expected}'")
            }
            (Some(expected), Some(got)) => {
                write!(f, "{what} '{name}': expected {expected}, got {got}")
            }
            (Some(expected), None) => write!(f, "{what} '{name}': expected {expected}, got none"),
            (None, _) => write!(
                f,
                "{what} '{name}': the view has none of that name, neither in its sources nor in its \
                 features"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
