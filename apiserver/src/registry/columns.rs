//! Tables of objects, as people see them: columns and cells.

use super::Endpoint;

pub(crate) fn events(_endpoint: &mut Endpoint) {}
