//! Who the repo's clients say they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::Spanned;
use url::Url;

use super::wire::{Loose, Section, Source, Table, line};
use crate::identity::{Identity, Provider, TokenSource};

/// Where Kubernetes puts the token of a service account.
const ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Feast's margin before the end of a token, in seconds.
const MARGIN: u64 = 30;

/// The type of the section, and who this node is to the servers by it.
pub(super) fn auth_of(
    dir: &Path,
    section: Option<Spanned<Section>>,
    source: &Source<'_>,
    env: &dyn Fn(&str) -> Option<String>,
) -> (String, Option<Identity>) {
    let Some(section) = section else {
        return ("no_auth".to_owned(), None);
    };
    let at = line(&section);
    let table = match section.value {
        Section::Word(kind) => Box::new(Table {
            kind: Some(kind),
            ..Table::default()
        }),
        Section::Table(table) => table,
    };
    let kind = table.kind.clone().unwrap_or_else(|| "no_auth".to_owned());
    let found = match kind.as_str() {
        "oidc" => oidc(dir, &table, &|text| checked(source, at, text), env),
        "kubernetes" => kubernetes(&table, &|text| checked(source, at, text), env),
        _ => return (kind, None),
    };
    let found = found.unwrap_or_else(|reason| {
        TokenSource::Broken(source.config("auth", at, reason).to_string())
    });
    (kind, Some(Identity::new(found)))
}

type Checked<'a> = &'a dyn Fn(&Loose) -> Result<Option<String>, String>;
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The text of a setting; `None` when it is empty.
fn checked(source: &Source<'_>, at: u64, text: &Loose) -> Result<Option<String>, String> {
    let found = source.check_text("auth", at, &text.0);
    found.map_err(|error| error.to_string())?;
    Ok((!text.0.is_empty()).then(|| text.0.clone()))
}

/// As Feast's client of it: a token, a variable that has one, a client's secret, else what the
/// environment or the pod has.
fn oidc(
    dir: &Path,
    table: &Table,
    text: Checked<'_>,
    env: Environment<'_>,
) -> Result<TokenSource, String> {
    if let Some(token) = text(&table.token)? {
        return Ok(TokenSource::Given(token));
    }
    if let Some(name) = text(&table.token_env_var)? {
        let token = env(&name).filter(|token| !token.is_empty());
        return token.map(TokenSource::Given).ok_or_else(|| {
            format!("token_env_var names the environment variable {name}, which is not set")
        });
    }
    let Some(secret) = text(&table.client_secret)? else {
        return Ok(ambient(env, "FEAST_OIDC_TOKEN"));
    };
    let (Some(discovery), Some(client)) =
        (text(&table.auth_discovery_url)?, text(&table.client_id)?)
    else {
        return Err("client_secret needs auth_discovery_url and client_id beside it".to_owned());
    };
    let person = match (text(&table.username)?, text(&table.password)?) {
        (Some(name), Some(password)) => Some((name, password)),
        (None, None) => None,
        _ => return Err("give both username and password, or neither".to_owned()),
    };
    if table.verify_ssl.0.eq_ignore_ascii_case("false") {
        let reason = "verify_ssl: false would give the secret to anybody: name the provider's \
                      certificate with ca_cert_path";
        return Err(reason.to_owned());
    }
    let discovery = Url::parse(&discovery)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or("auth_discovery_url is no http(s) URL")?;
    let margin = &table.token_refresh_margin_seconds.0;
    Ok(TokenSource::Provider(Box::new(Provider {
        discovery,
        client: (client, secret),
        person,
        ca_file: text(&table.ca_cert_path)?.map(|path| dir.join(path)),
        margin: margin
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(Duration::from_secs(MARGIN)),
    })))
}

/// As Feast's client in Kubernetes: a user's token, else that of the service account.
fn kubernetes(
    table: &Table,
    text: Checked<'_>,
    env: Environment<'_>,
) -> Result<TokenSource, String> {
    Ok(match text(&table.user_token)? {
        Some(token) => TokenSource::Given(token),
        None => TokenSource::File(
            PathBuf::from(ACCOUNT_TOKEN),
            env("LOCAL_K8S_TOKEN").filter(|token| !token.is_empty()),
        ),
    })
}

/// The token of the environment variable `name`, else that of the service account.
fn ambient(env: Environment<'_>, name: &str) -> TokenSource {
    match env(name).filter(|token| !token.is_empty()) {
        Some(token) => TokenSource::Given(token),
        None => TokenSource::File(PathBuf::from(ACCOUNT_TOKEN), None),
    }
}
