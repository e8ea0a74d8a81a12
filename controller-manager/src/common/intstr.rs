//! Values that are a number or a percentage.

use serde::{Deserialize, Serialize};

/// An `IntOrString` of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A plain number.
    Int(i64),
    /// A percentage (`25%`), or a name.
    Text(String),
}

/// The number meant, a percentage being one of `total`.
pub fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> Result<i32, String> {
    match value {
        None => Ok(0),
        Some(IntOrString::Int(n)) => i32::try_from(*n).map_err(|e| e.to_string()),
        Some(IntOrString::Text(text)) => {
            let percent = text.strip_suffix('%').ok_or("invalid type: string is not a percentage")?;
            let percent: i64 = percent.parse().map_err(|e| format!("invalid value {text:?}: {e}"))?;
            let product = percent * i64::from(total);
            let value = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(value).map_err(|e| e.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let quarter = IntOrString::Text("25%".into());
        for (total, up, down) in [(0, 0, 0), (1, 1, 0), (4, 1, 1), (10, 3, 2)] {
            assert_eq!(scaled(Some(&quarter), total, true), Ok(up));
            assert_eq!(scaled(Some(&quarter), total, false), Ok(down));
        }
        assert_eq!(scaled(Some(&IntOrString::Int(3)), 1, true), Ok(3));
        assert!(scaled(Some(&IntOrString::Text("3".into())), 1, true).is_err());
    }
}
