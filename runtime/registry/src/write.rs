//! Write plans: which views a push, a write or a materialization reaches.

use std::collections::HashSet;

use crate::error::shown;
use crate::model::{StoredView, ViewIndex, ViewKind};
use crate::registry::Named;
use crate::{Error, Registry, Result};

/// The views that a write reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPlan {
    /// The push source, or the view written to.
    pub source: String,
    /// The views, in the order of [`Registry::views`].
    pub views: Vec<ViewIndex>,
}

// === impl Registry ===

impl Registry {
    /// The views that rows pushed to `source` are written to. Views with `online=False` take no
    /// part in online pushes; disabled views do, as in Feast.
    ///
    /// # Errors
    /// [`Error::PushSourceNotFound`]; [`Error::NotOnline`] when none of the views is online;
    /// [`Error::NotServable`] when this node cannot hold rows of one of them.
    pub fn plan_push(&self, source: &str) -> Result<PushPlan> {
        let Some(found) = self.find_push_source(source) else {
            let source_name = shown(source);
            return Err(Error::PushSourceNotFound { source_name });
        };
        let mut views = Vec::with_capacity(found.views.len());
        let mut offline = None;
        for &index in &found.views {
            let Some(view) = self.view(index) else {
                continue;
            };
            if view.online {
                check_servable(view)?;
                views.push(index);
            } else {
                offline.get_or_insert(view);
            }
        }
        match offline {
            Some(view) if views.is_empty() => Err(Error::NotOnline {
                view: view.name.clone(),
            }),
            _ => Ok(PushPlan {
                source: found.name.clone(),
                views,
            }),
        }
    }

    /// The views whose offline rows a push to `source` brings: all that it feeds, online or not.
    ///
    /// # Errors
    /// [`Error::PushSourceNotFound`]; [`Error::NotServable`] when this node cannot hold rows of one
    /// of them.
    pub fn plan_push_offline(&self, source: &str) -> Result<PushPlan> {
        let Some(found) = self.find_push_source(source) else {
            let source_name = shown(source);
            return Err(Error::PushSourceNotFound { source_name });
        };
        for view in found.views.iter().filter_map(|index| self.view(*index)) {
            check_servable(view)?;
        }
        Ok(PushPlan {
            source: found.name.clone(),
            views: found.views.clone(),
        })
    }

    /// The view that rows written to `view` go to. For an on-demand view the caller decides
    /// whether its rows still have to be computed.
    ///
    /// # Errors
    /// [`Error::ObjectNotFound`] when nothing that can be written has the name (label views are
    /// pushed to); [`Error::NotWritable`] for an on-demand view without rows;
    /// [`Error::NotOnline`]; [`Error::NotServable`].
    pub fn plan_write(&self, view: &str) -> Result<PushPlan> {
        let name = || shown(view);
        let found = match self.index.names.get(view) {
            Some(Named::OnDemand(_)) => return Err(Error::NotWritable { view: name() }),
            Some(Named::Stored(index)) => self.view(*index).map(|stored| (*index, stored)),
            None => None,
        };
        let found = found.filter(|(_, stored)| stored.kind != ViewKind::Label);
        let Some((index, stored)) = found else {
            return Err(Error::ObjectNotFound { name: name() });
        };
        if !stored.online {
            return Err(Error::NotOnline { view: name() });
        }
        check_servable(stored)?;
        Ok(PushPlan {
            source: stored.name.clone(),
            views: vec![index],
        })
    }

    /// The views to materialize: those named, each once and in the order named, or (`None`) all
    /// feature views and stream feature views that are online, enabled, servable and have a batch
    /// source that is not transformed on the way. What `None` leaves out is in the warnings, or
    /// has no batches.
    ///
    /// # Errors
    /// For names only: [`Error::ViewNotFound`], [`Error::LabelNotMaterializable`],
    /// [`Error::MaterializeDisabled`], [`Error::MaterializeOffline`],
    /// [`Error::MaterializeReadTime`], [`Error::MaterializeWritten`], [`Error::NotServable`],
    /// [`Error::NoBatchSource`] and [`Error::BatchTransformMissing`].
    pub fn plan_materialize(&self, names: Option<&[String]>) -> Result<Vec<ViewIndex>> {
        let Some(names) = names else {
            let views = (0_u32..).zip(&self.views);
            let chosen = views.filter(|(_, view)| {
                matches!(view.kind, ViewKind::Batch | ViewKind::Stream)
                    && check_materialize(view).is_ok()
            });
            return Ok(chosen.map(|(index, _)| ViewIndex(index)).collect());
        };
        let mut seen = HashSet::new();
        let mut views = Vec::new();
        for name in names {
            let view = || shown(name);
            let index = match self.index.names.get(name) {
                Some(Named::Stored(index)) => *index,
                Some(Named::OnDemand(_)) => return Err(self.read_time(name)),
                None => {
                    let project = self.project.clone();
                    return Err(Error::ViewNotFound {
                        view: view(),
                        project,
                    });
                }
            };
            if let Some(stored) = self.view(index) {
                check_materialize(stored)?;
            }
            if seen.insert(index) {
                views.push(index);
            }
        }
        Ok(views)
    }

    /// Why the on-demand view named `name` is not materialized.
    fn read_time(&self, name: &str) -> Error {
        let view = name.to_owned();
        if self
            .find_on_demand_view(name)
            .is_some_and(|view| !view.enabled)
        {
            return Error::MaterializeDisabled { view };
        }
        Error::MaterializeReadTime { view }
    }
}

fn check_servable(view: &StoredView) -> Result<()> {
    view.servable.clone().map_err(|reason| Error::NotServable {
        view: view.name.clone(),
        reason,
    })
}

/// Whether `view` can be materialized: Feast's checks in Feast's order, then our own.
fn check_materialize(stored: &StoredView) -> Result<()> {
    let view = stored.name.clone();
    if stored.kind == ViewKind::Label {
        return Err(Error::LabelNotMaterializable { view });
    }
    if !stored.enabled {
        return Err(Error::MaterializeDisabled { view });
    }
    if !stored.online {
        return Err(Error::MaterializeOffline { view });
    }
    if stored.kind == ViewKind::OnDemand {
        return Err(Error::MaterializeWritten { view });
    }
    check_servable(stored)?;
    if stored.batch_source.is_none() {
        return Err(Error::NoBatchSource { view });
    }
    if stored.batch_transformed {
        return Err(Error::BatchTransformMissing { view });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
