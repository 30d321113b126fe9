//! All HTTP components of a node, and the way from a path to one of them.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use galley_node::Node;
use galley_transform::Cache;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Scheme, Uri};
use hyper::{Request, Response};
use rustls::ClientConfig;

use crate::component::HttpComponent;
use crate::config::HttpComponentConfig;
use crate::engine::HttpEngine;
use crate::error::{Error, Result};
use crate::key_value::KeyValue;
use crate::route::{Matched, Route};
use crate::status::ComponentStatus;

/// What components are put among.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Answers their look-ups, takes their pushes.
    pub node: &'a Arc<Node>,
    /// Keeps their key-value stores.
    pub key_value: &'a Arc<KeyValue>,
    /// Compiles them and keeps the code.
    pub cache: &'a Cache,
    /// What secures their requests to `https://` hosts, or why nothing does: components that may
    /// send such are refused with this reason.
    pub tls: &'a Result<Arc<ClientConfig>, String>,
    /// Paths the server answers itself, which no route may cover; what ends with a slash stands for
    /// all paths below it.
    pub own_paths: &'a [&'a str],
}

/// The HTTP components of a node.
#[derive(Debug)]
pub struct HttpApp {
    /// The most exact route first.
    entries: Vec<Entry>,
    refused: Vec<Refused>,
}

/// A component that is not served.
#[derive(Debug)]
pub struct Refused {
    /// Its name.
    pub component: String,
    /// The paths it would answer.
    pub route: String,
    /// Why.
    pub error: Error,
}

#[derive(Debug)]
struct Entry {
    route: Route,
    /// `Err` for a component that was refused: its paths say so.
    served: Result<Arc<HttpComponent>, String>,
}

/// What Spin's hosts tell components in header fields.
const SPIN_HEADERS: &str = "spin-";

impl HttpApp {
    /// Loads components. One that cannot be loaded is refused with its reason and the others are
    /// served; its paths answer that it is not there. Compiling takes seconds: not for a thread that
    /// serves.
    #[must_use]
    pub fn load(
        engine: &Arc<HttpEngine>,
        surroundings: &Surroundings<'_>,
        configs: Vec<HttpComponentConfig>,
    ) -> Self {
        let mut app = Self {
            entries: Vec::with_capacity(configs.len()),
            refused: Vec::new(),
        };
        for config in configs {
            let (name, path) = (config.name.clone(), config.route.clone());
            let route = match app.route(surroundings, &config) {
                Ok(route) => route,
                Err(error) => {
                    app.refuse(name, path, error);
                    continue;
                }
            };
            let loaded = HttpComponent::load(engine, surroundings, (config, &route));
            let served = loaded.map(Arc::new).map_err(|error| {
                app.refuse(name.clone(), path, error);
                name
            });
            app.entries.push(Entry { route, served });
        }
        app.entries
            .sort_by_key(|entry| std::cmp::Reverse(entry.route.exactness()));
        app
    }

    /// Why components were refused.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// The components that are loaded, the most exact route first.
    #[must_use]
    pub fn status(&self) -> Vec<ComponentStatus> {
        let loaded = self.entries.iter().flat_map(|entry| &entry.served);
        loaded.map(|component| component.status()).collect()
    }

    /// Bytes the body of a request for `path` may have; `None` when no component answers the path.
    #[must_use]
    pub fn body_bytes_max(&self, path: &str) -> Option<usize> {
        let (entry, _) = self.find(path)?;
        Some(match &entry.served {
            Ok(component) => component.shared.limits.request_body_bytes_max,
            Err(_) => 0,
        })
    }

    /// Answers a request, whose body is there, that came from `client`.
    ///
    /// # Errors
    /// Why there is no answer; [`Error::status`] and [`Error::code`] say what the caller gets.
    pub async fn handle(
        &self,
        request: Request<Bytes>,
        client: Option<SocketAddr>,
    ) -> Result<Response<Bytes>> {
        let path = request.uri().path();
        let Some((entry, matched)) = self.find(path) else {
            return Err(Error::NoRoute {
                path: path.to_owned(),
            });
        };
        let component = match &entry.served {
            Ok(component) => component,
            Err(name) => {
                return Err(Error::NotLoaded {
                    component: name.clone(),
                });
            }
        };
        component
            .handle(prepare(request, (&entry.route, &matched), client))
            .await
    }

    fn find(&self, path: &str) -> Option<(&Entry, Matched)> {
        self.entries
            .iter()
            .find_map(|entry| Some((entry, entry.route.matches(path)?)))
    }

    fn refuse(&mut self, component: String, route: String, error: Error) {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let cause = cause.unwrap_or_default();
        tracing::error!(component, reason = %error, cause, "HTTP component refused");
        self.refused.push(Refused {
            component,
            route,
            error,
        });
    }

    /// The route of a component, if it may have it.
    fn route(
        &self,
        surroundings: &Surroundings<'_>,
        config: &HttpComponentConfig,
    ) -> Result<Route> {
        let refuse = |reason: String| Error::Route {
            component: config.name.clone(),
            route: config.route.clone(),
            reason,
        };
        let route = Route::parse(&config.route).map_err(|why| refuse(why.to_owned()))?;
        let covers = |own: &&&str| match own.strip_suffix('/') {
            Some(below) => route.matches(below).is_some() || config.route.starts_with(**own),
            None => route.matches(own).is_some(),
        };
        if let Some(own) = surroundings.own_paths.iter().find(covers) {
            return Err(refuse(format!(
                "it would cover '{own}', which Galley answers itself; give it a path of its own, \
                 such as '/app{}'",
                config.route
            )));
        }
        if let Some(other) = self
            .entries
            .iter()
            .find(|entry| entry.route.is_same(&route))
        {
            return Err(refuse(format!(
                "it covers the same paths as route '{}', which is taken",
                other.route.text()
            )));
        }
        let has_name = |entry: &&Entry| match &entry.served {
            Ok(component) => component.name() == config.name,
            Err(name) => *name == config.name,
        };
        match self.entries.iter().find(has_name) {
            Some(_) => Err(Error::SameName {
                component: config.name.clone(),
            }),
            None => Ok(route),
        }
    }
}

/// The request as a component gets it: with a scheme and a host, and with what Spin's hosts tell in
/// header fields, which nobody else can set.
fn prepare(
    mut request: Request<Bytes>,
    (route, matched): (&Route, &Matched),
    client: Option<SocketAddr>,
) -> Request<Bytes> {
    let authority = request.uri().authority().cloned().or_else(|| {
        let host = request.headers().get(HOST)?;
        Authority::try_from(host.as_bytes()).ok()
    });
    let authority = authority.unwrap_or_else(|| Authority::from_static("localhost"));
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    // All three parts are there, so that they make a URI.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    let full_url = request.uri().to_string();
    let headers = request.headers_mut();
    let foreign: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(SPIN_HEADERS))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
    let client = client.map(|client| client.to_string()).unwrap_or_default();
    let told = [
        ("spin-full-url", full_url.as_str()),
        ("spin-path-info", &matched.rest),
        ("spin-matched-route", route.text()),
        ("spin-raw-component-route", route.text()),
        ("spin-component-route", route.base()),
        ("spin-base-path", "/"),
        ("spin-client-addr", &client),
    ];
    for (name, value) in told {
        tell(headers, name, value);
    }
    for (name, value) in &matched.parameters {
        tell(headers, &format!("spin-path-match-{name}"), value);
    }
    request
}

/// Sets a header field; what cannot stand in one is left out.
fn tell(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::try_from(name);
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}
