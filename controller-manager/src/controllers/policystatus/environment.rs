//! What the expressions of a policy may refer to, as types (KEP-3488).

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::Type;
use cel::env::{Env, Types};
use cel::kube::admission::object_types;
use cel::kube::schema::Schema;
use cel::kube::types::{Declared, DeclaredTypes};
use cel::library;
use serde_json::Value;

/// A schema as a declared type, under a name of its own.
pub(super) struct Named {
    name: String,
    declared: Declared,
}

impl Named {
    /// Reads a schema whose references have been resolved.
    pub(super) fn new(kind: &str, role: &str, schema: &Value) -> Option<Named> {
        let declared = Declared::new(&Schema::new(schema, true))?;
        Some(Named { name: format!("{kind}@{role}"), declared })
    }

    fn ty(&self) -> Type {
        self.declared.ty(&self.name)
    }
}

/// The environment for objects of one kind; what has no known type is dynamic. `has_params` says whether the policy has
/// parameters at all.
pub(super) fn environment(object: Option<&Named>, has_params: bool, params: Option<&Named>) -> Env {
    let dynamic = |named: Option<&Named>| named.map_or(Type::Dyn, Named::ty);
    let mut env = library::base()
        .object_types(Arc::new(object_types()))
        .variable("namespaceObject", Type::object(NAMESPACE))
        .variable("request", Type::object(REQUEST))
        .variable("object", dynamic(object))
        .variable("oldObject", dynamic(object))
        .variable("authorizer", library::authorizer::authorizer_type());
    if has_params {
        env = env.variable("params", dynamic(params));
    }
    for named in [object, params].into_iter().flatten() {
        env = env.object_types(Arc::new(DeclaredTypes::new(&named.name, &named.declared)));
    }
    env
}

/// The environment with the policy's variables, of which each sees those before it. One that is wrong is dynamic.
pub(super) fn with_variables(mut env: Env, variables: &[(String, String)]) -> Env {
    let mut types = BTreeMap::new();
    env = env.variable("variables", Type::object(VARIABLES));
    for (name, expression) in variables {
        let known = env.clone().object_types(variables_type(&types));
        let output = known.compile(expression).map_or(Type::Dyn, |checked| checked.output().clone());
        types.insert(name.clone(), output);
    }
    env.object_types(variables_type(&types))
}

fn variables_type(types: &BTreeMap<String, Type>) -> Arc<dyn Types> {
    Arc::new(DeclaredTypes::of([(VARIABLES.to_owned(), types.clone())]))
}

const NAMESPACE: &str = "kubernetes.Namespace";
const REQUEST: &str = "kubernetes.AdmissionRequest";
const VARIABLES: &str = "kubernetes.variables";
