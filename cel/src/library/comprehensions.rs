//! What loops over two variables need besides their macros.

use crate::env::Library;
use crate::syntax::op;
use crate::types::Type;

pub(super) fn install(library: &mut Library) {
    let (key, value) = (Type::Param("K"), Type::Param("V"));
    let map = Type::map(key.clone(), value.clone());
    let id = "@mapInsert_map_key_value";
    library.overload(op::MAP_INSERT, id, false, &[map.clone(), key, value], map.clone(), None);
    library.overload(op::MAP_INSERT, "@mapInsert_map_map", false, &[map.clone(), map.clone()], map, None);
}
