//! What an on-demand feature view may be computed from.

use galley_types::ValueType;

use crate::Registry;
use crate::model::OnDemandView;

/// A column that an on-demand feature view may be computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputColumn<'a> {
    /// The feature, join key or request column.
    pub name: &'a str,
    /// Where it comes from.
    pub source: InputSource<'a>,
    /// Its type.
    pub value_type: ValueType,
}

/// Where an [`InputColumn`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSource<'a> {
    /// A feature of a source view.
    Feature {
        /// The view.
        view: &'a str,
        /// Position in [`OnDemandView::sources`].
        source: usize,
        /// Position in the view's schema.
        feature: usize,
    },
    /// A join key of a source view.
    JoinKey {
        /// Position in [`OnDemandView::sources`].
        source: usize,
        /// Position among the view's join keys.
        key: usize,
    },
    /// A column of a request source.
    Request,
}

// === impl Registry ===

impl Registry {
    /// Everything `view` may be computed from: features and join keys of its sources, in the order of
    /// the sources, then request columns. A source that the registry does not have brings nothing.
    #[must_use]
    pub fn input_columns<'a>(&'a self, view: &'a OnDemandView) -> Vec<InputColumn<'a>> {
        let mut columns = Vec::new();
        for (source, projection) in view.sources.iter().enumerate() {
            let found = self.find_view(&projection.view);
            let Some(stored) = found.and_then(|index| self.view(index)) else {
                continue;
            };
            let features = stored.schema.fields.iter().enumerate();
            let taken = features.filter(|(_, field)| {
                projection.features.is_empty() || projection.features.contains(&field.name)
            });
            columns.extend(taken.map(|(feature, field)| InputColumn {
                name: &field.name,
                source: InputSource::Feature {
                    view: &stored.name,
                    source,
                    feature,
                },
                value_type: field.value_type,
            }));
            let keys = stored.join_keys.iter().enumerate();
            columns.extend(keys.map(|(key, join_key)| InputColumn {
                name: &join_key.name,
                source: InputSource::JoinKey { source, key },
                value_type: join_key.key_type.value_type(),
            }));
        }
        let requested = view.request_sources.iter();
        let fields = requested.flat_map(|source| &source.schema.fields);
        columns.extend(fields.map(|field| InputColumn {
            name: &field.name,
            source: InputSource::Request,
            value_type: field.value_type,
        }));
        columns
    }

    /// The on-demand feature view named `name`, computed when it is read or when it is written.
    #[must_use]
    pub fn find_any_on_demand_view(&self, name: &str) -> Option<&OnDemandView> {
        self.find_on_demand_view(name).or_else(|| {
            let view = self.view(self.find_view(name)?)?;
            view.on_demand.as_deref()
        })
    }

    /// Every on-demand feature view: those computed when they are read, then those computed when
    /// they are written.
    pub fn all_on_demand_views(&self) -> impl Iterator<Item = &OnDemandView> {
        let written = self.views.iter().filter_map(|it| it.on_demand.as_deref());
        self.on_demand_views.iter().chain(written)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::rides;

    #[test]
    fn a_view_may_read_features_join_keys_and_request_columns() {
        let registry = rides();
        let view = registry.find_any_on_demand_view("acc_singleton").unwrap();
        let columns = registry.input_columns(view);
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        assert_eq!(
            names,
            ["acc_rate", "driver_id", "val_to_add", "val_to_add_2"]
        );
    }
}
