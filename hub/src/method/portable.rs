use std::{any::TypeId, fmt, sync::PoisonError};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::ItemMap;
use crate::members::Member;

/// The items that move with their connection to another node.
#[derive(Debug, Default)]
pub(crate) struct Portables(Vec<Portable>);

struct Portable {
    name: Box<str>,
    write: fn(&ItemMap) -> Option<serde_json::Result<Vec<u8>>>,
    read: fn(&[u8], &mut ItemMap) -> serde_json::Result<()>,
}

impl Portables {
    /// Whether it is the first of its name.
    pub(crate) fn add<T>(&mut self, name: &str) -> bool
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let first = self.0.iter().all(|known| *known.name != *name);
        self.0.push(Portable {
            name: name.into(),
            write: |items| {
                let item = items.get(&TypeId::of::<T>())?.downcast_ref::<T>()?;
                Some(serde_json::to_vec(item))
            },
            read: |bytes, items| {
                let item: T = serde_json::from_slice(bytes)?;
                items.insert(TypeId::of::<T>(), Box::new(item));
                Ok(())
            },
        });
        first
    }

    /// Those that a connection has.
    pub(crate) fn write(&self, member: &Member) -> Vec<(Box<str>, Bytes)> {
        let items = member.items.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(items) = &*items else { return Vec::new() };
        let written = self.0.iter().filter_map(|portable| {
            let written = (portable.write)(items)?.map_err(|error| {
                tracing::error!(item = %portable.name, %error, "an item cannot be written and stays behind");
            });
            written.ok().map(|bytes| (portable.name.clone(), bytes.into()))
        });
        written.collect()
    }

    /// Gives them to a connection.
    pub(crate) fn read(&self, written: Vec<(Box<str>, Bytes)>, member: &Member) {
        if written.is_empty() {
            return;
        }
        let mut items = member.items.lock().unwrap_or_else(PoisonError::into_inner);
        let items = items.get_or_insert_default();
        for (name, bytes) in written {
            let Some(portable) = self.0.iter().find(|portable| portable.name == name) else {
                tracing::error!(item = %name, "an item of another node is not known here and gets lost");
                continue;
            };
            if let Err(error) = (portable.read)(&bytes, items) {
                tracing::error!(item = %name, %error, "an item of another node cannot be read and gets lost");
            }
        }
    }
}

impl fmt::Debug for Portable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portable").field("name", &self.name).finish_non_exhaustive()
    }
}
