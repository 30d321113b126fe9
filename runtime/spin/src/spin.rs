//! `spin:key-value@3.0.0` and `spin:variables@3.0.0`.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, ComponentType, FutureReader, Lift, Linker, Lower, Resource, ResourceType,
    StreamReader,
};

use crate::key_value::{KeyValue, Refused};
use crate::state::State;

/// An open store: its label.
pub(crate) struct OpenStore(Arc<str>);

#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum StoreError {
    #[component(name = "store-table-full")]
    StoreTableFull,
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum VariableError {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "undefined")]
    Undefined(String),
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "other")]
    Other(String),
}

type Handle = Resource<OpenStore>;
type Keys = (StreamReader<String>, FutureReader<Result<(), StoreError>>);

impl From<Refused> for StoreError {
    fn from(refused: Refused) -> Self {
        Self::Other(refused.0)
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    add_key_value(linker)?;
    linker
        .instance("spin:variables/variables@3.0.0")?
        .func_wrap_concurrent("get", |accessor, (name,): (String,)| {
            Box::pin(
                async move { Ok((accessor.with(|mut access| variable(access.get(), &name)),)) },
            )
        })
}

fn variable(state: &State, name: &str) -> Result<String, VariableError> {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        !name.is_empty() && name.bytes().all(plain)
    };
    if !is_name(name) {
        return Err(VariableError::InvalidName(
            "a name has lower-case letters, digits and '_'".to_owned(),
        ));
    }
    let value = state.shared.variables.get(name);
    value.cloned().ok_or_else(|| {
        VariableError::Undefined(format!(
            "set '{name}' under [component.{}.variables] in spin.toml",
            state.shared.name
        ))
    })
}

fn add_key_value(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("spin:key-value/key-value@3.0.0")?;
    instance.resource(
        "store",
        ResourceType::host::<OpenStore>(),
        |mut context: StoreContextMut<'_, State>, handle| {
            context.data_mut().table.delete(Handle::new_own(handle))?;
            Ok(())
        },
    )?;
    instance.func_wrap_concurrent("[static]store.open", |accessor, (label,): (String,)| {
        Box::pin(async move { accessor.with(|mut access| Ok((open(access.get(), &label)?,))) })
    })?;
    instance.func_wrap_concurrent(
        "[method]store.get",
        |accessor, (store, key): (Handle, String)| {
            Box::pin(async move {
                let (stores, label) = opened(accessor, &store)?;
                Ok((stores.get(&label, &key).map_err(StoreError::from),))
            })
        },
    )?;
    instance.func_wrap_concurrent(
        "[method]store.set",
        |accessor, (store, key, value): (Handle, String, Vec<u8>)| {
            Box::pin(async move {
                let (stores, label) = opened(accessor, &store)?;
                let set = stores.set(&label, key, value).await;
                Ok((set.map_err(StoreError::from),))
            })
        },
    )?;
    instance.func_wrap_concurrent(
        "[method]store.delete",
        |accessor, (store, key): (Handle, String)| {
            Box::pin(async move {
                let (stores, label) = opened(accessor, &store)?;
                let deleted = stores.delete(&label, key).await;
                Ok((deleted.map_err(StoreError::from),))
            })
        },
    )?;
    instance.func_wrap_concurrent(
        "[method]store.exists",
        |accessor, (store, key): (Handle, String)| {
            Box::pin(async move {
                let (stores, label) = opened(accessor, &store)?;
                Ok((stores.exists(&label, &key).map_err(StoreError::from),))
            })
        },
    )?;
    instance.func_wrap_concurrent("[method]store.get-keys", |accessor, (store,): (Handle,)| {
        Box::pin(async move {
            let (stores, label) = opened(accessor, &store)?;
            accessor.with(|mut access| {
                let bytes_max = access.get().shared.limits.transfer_bytes_max;
                let found = stores.keys(&label, bytes_max);
                Ok((keys(access, found)?,))
            })
        })
    })
}

fn open(state: &mut State, label: &str) -> wasmtime::Result<Result<Handle, StoreError>> {
    if !state.shared.stores.iter().any(|granted| granted == label) {
        let component = &state.shared.name;
        tracing::warn!(
            component,
            "a key-value store that key_value_stores does not grant was refused"
        );
        return Ok(Err(StoreError::AccessDenied));
    }
    match state.table.push(OpenStore(label.into())) {
        Ok(handle) => Ok(Ok(handle)),
        Err(_) => Ok(Err(StoreError::StoreTableFull)),
    }
}

fn opened(
    accessor: &Accessor<State>,
    handle: &Handle,
) -> wasmtime::Result<(Arc<KeyValue>, Arc<str>)> {
    accessor.with(|mut access| {
        let state = access.get();
        let label = Arc::clone(&state.table.get(handle)?.0);
        Ok((Arc::clone(&state.shared.key_value), label))
    })
}

fn keys(
    mut access: wasmtime::component::Access<'_, State>,
    found: Result<Vec<String>, Refused>,
) -> wasmtime::Result<Keys> {
    let (keys, outcome) = match found {
        Ok(keys) => (keys, Ok(())),
        Err(refused) => (Vec::new(), Err(StoreError::from(refused))),
    };
    let stream = StreamReader::new(&mut access, keys)?;
    let outcome = async move { wasmtime::error::Ok(outcome) };
    Ok((stream, FutureReader::new(&mut access, outcome)?))
}
