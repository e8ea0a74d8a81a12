//! Base64 as Go's standard encoding reads it: padded, and with line ends skipped.

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine};

/// Decodes, with Go's error text.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let stripped: String;
    let text = if text.contains(['\r', '\n']) {
        stripped = text.replace(['\r', '\n'], "");
        &stripped
    } else {
        text
    };
    STANDARD.decode(text).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => at,
            // Go names the beginning of the group of four that is not whole.
            _ => text.len() / 4 * 4,
        };
        format!("illegal base64 data at input byte {at}")
    })
}
