//! Collects the definitions of the types that an interface mentions.

use super::{Shape, Type, TypeDef};
use std::{
    any::TypeId,
    collections::{BTreeMap, HashMap},
};

/// The definitions found so far while an interface is described.
#[derive(Debug, Default)]
pub struct Types {
    definitions: BTreeMap<String, TypeDef>,
    names: HashMap<TypeId, String>,
}

impl Types {
    /// Defines the type `T` unless it is already defined, and returns its name.
    ///
    /// `path` is the name with its module. It is used if another type has the same short name.
    pub fn define<T: 'static>(
        &mut self,
        name: &str,
        path: &str,
        definition: impl FnOnce(&mut Self) -> TypeDef,
    ) -> Type {
        if let Some(known) = self.names.get(&TypeId::of::<T>()) {
            return Type::Named(known.clone());
        }
        let taken = self.names.values().any(|known| known == name);
        let name = if taken { path } else { name }.to_owned();
        // The name is registered before the type is described, for recursive types.
        self.names.insert(TypeId::of::<T>(), name.clone());
        let definition = definition(self);
        self.definitions.insert(name.clone(), definition);
        Type::Named(name)
    }

    /// The definitions by name.
    pub fn into_definitions(self) -> BTreeMap<String, TypeDef> {
        self.definitions
    }
}

impl TypeDef {
    /// A definition with its doc comment.
    pub fn new(docs: &str, shape: Shape) -> Self {
        Self { docs: docs.into(), shape }
    }
}
