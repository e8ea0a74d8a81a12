//! The functions that expressions may call: those of the language, of cel-go's extensions, and of Kubernetes.

pub mod authorizer;
mod comprehensions;
pub mod format;
mod json_patch;
mod lists;
mod net;
pub(crate) mod optional;
pub(crate) mod pattern;
mod quantity;
mod semver;
mod sets;
pub(crate) mod standard;
mod strings;
pub(crate) mod text_format;
mod url;

use std::sync::{Arc, OnceLock};

use crate::env::{Env, Library};
use crate::eval::Error;
use crate::kube::mutation::PatchTypes;
use crate::value::{List, Value};

/// The environment that all expressions of Kubernetes 1.36 share, without variables.
pub fn base() -> Env {
    static LIBRARY: OnceLock<Arc<Library>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| Arc::new(base_library()));
    Env::new(Arc::clone(library))
}

fn base_library() -> Library {
    let mut library = Library::default();
    standard::install(&mut library);
    url::install(&mut library);
    pattern::install(&mut library);
    lists::install(&mut library);
    authorizer::install(&mut library);
    optional::install(&mut library);
    quantity::install(&mut library);
    strings::install(&mut library);
    sets::install(&mut library);
    net::install(&mut library);
    format::install(&mut library);
    comprehensions::install(&mut library);
    semver::install(&mut library);
    library
}

/// The environment with what only the patches of mutating admission policies may use: their types, and `jsonpatch`.
pub fn mutation(env: Env) -> Env {
    static LIBRARY: OnceLock<Arc<Library>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let mut library = base_library();
        json_patch::install(&mut library);
        Arc::new(library)
    });
    env.library(Arc::clone(library)).object_types(Arc::new(PatchTypes))
}

type Result<'a> = std::result::Result<Value<'a>, Error>;

/// The text that an argument must be.
fn text<'v>(args: &'v [Value<'_>], index: usize) -> std::result::Result<&'v str, Error> {
    args.get(index).and_then(Value::as_str).ok_or(Error::NO_SUCH_OVERLOAD)
}

fn integer(args: &[Value<'_>], index: usize) -> std::result::Result<i64, Error> {
    match args.get(index) {
        Some(Value::Int(number)) => Ok(*number),
        _ => Err(Error::NO_SUCH_OVERLOAD),
    }
}

fn list<'v, 'a>(args: &'v [Value<'a>], index: usize) -> std::result::Result<&'v List<'a>, Error> {
    match args.get(index) {
        Some(Value::List(list)) => Ok(list),
        _ => Err(Error::NO_SUCH_OVERLOAD),
    }
}

/// The library's value that an argument must be.
fn opaque<'v, T: 'static>(args: &'v [Value<'_>], index: usize) -> std::result::Result<&'v T, Error> {
    args.get(index).and_then(Value::downcast).ok_or(Error::NO_SUCH_OVERLOAD)
}
