//! Backends by name.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::backend::{BackendFactory, OptionSpec};

/// Backends by name, in the order in which they were registered: the built-in ones come first.
#[derive(Clone, Default)]
pub struct BackendRegistry {
    factories: Vec<Arc<dyn BackendFactory>>,
}

/// The name is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a backend with the name \"{name}\" is registered already")]
pub struct AlreadyRegistered {
    /// The name.
    pub name: String,
}

impl BackendRegistry {
    /// A registry without backends.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend.
    ///
    /// # Errors
    /// [`AlreadyRegistered`] where the name is taken.
    pub fn register(&mut self, factory: Arc<dyn BackendFactory>) -> Result<(), AlreadyRegistered> {
        if self.get(factory.name()).is_some() {
            return Err(AlreadyRegistered { name: factory.name().to_owned() });
        }
        self.factories.push(factory);
        Ok(())
    }

    /// The backend of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn BackendFactory>> {
        self.factories.iter().find(|factory| factory.name() == name)
    }

    /// All backends.
    pub fn list(&self) -> impl Iterator<Item = &Arc<dyn BackendFactory>> {
        self.factories.iter()
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        self.list().map(|factory| factory.name().to_owned()).collect()
    }

    /// The backends as `GET /v1/backends` tells them.
    pub fn to_json(&self) -> Vec<Value> {
        self.list()
            .map(|factory| {
                json!({
                    "name": factory.name(),
                    "description": factory.description(),
                    "capabilities": factory.capabilities(),
                    "options": factory.options().iter().map(OptionSpec::to_json).collect::<Vec<_>>(),
                })
            })
            .collect()
    }
}
