//! Label selectors of specs.

use proto::labels::Selector;

use crate::api::apps::LabelSelector;

/// The meaning of a selector. None selects nothing; an empty one selects everything.
pub fn compile(selector: Option<&LabelSelector>) -> Result<Selector, String> {
    let Some(selector) = selector else { return Ok(Selector::nothing()) };
    let value = serde_json::to_value(selector).map_err(|e| e.to_string())?;
    Selector::from_label_selector(&value).map_err(|e| e.0)
}
