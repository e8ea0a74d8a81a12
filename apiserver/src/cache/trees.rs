//! The decoded form of the few entries of a row that are asked for again and again: namespaces in admission, nodes in
//! authorization, the object that is updated for the third time in a row.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::entry::Entry;
use crate::storage::codec::{Codec, Error};

/// Trees kept per row. A tree takes several times the memory of its bytes, so they are few.
const KEPT: usize = 16;

/// Trees by entry, the last used first.
#[derive(Default)]
pub struct Trees(Mutex<VecDeque<(Arc<Entry>, Arc<Value>)>>);

impl Trees {
    /// The entry's tree in the hub version.
    pub fn get(&self, entry: &Arc<Entry>, codec: &Codec) -> Result<Arc<Value>, Error> {
        {
            let mut kept = self.0.lock();
            if let Some(at) = kept.iter().position(|(e, _)| Arc::ptr_eq(e, entry)) {
                let tree = kept[at].1.clone();
                if at > 0
                    && let Some(found) = kept.remove(at)
                {
                    kept.push_front(found);
                }
                return Ok(tree);
            }
        }
        let tree = Arc::new(entry.decode(codec)?);
        let mut kept = self.0.lock();
        // An older version of the object won't be asked for again.
        kept.retain(|(e, _)| e.key != entry.key);
        kept.truncate(KEPT - 1);
        kept.push_front((entry.clone(), tree.clone()));
        Ok(tree)
    }
}
