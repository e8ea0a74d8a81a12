//! Definitions and objects with rules, with the errors that Kubernetes 1.36 finds.
//!
//! A line of `cases/rules.jsonl` is either a definition (`define`), or an object `self` and perhaps what it was before,
//! with the budget that is left of what was given. The expectations were recorded from upstream.

use std::fmt::Write as _;
use std::path::Path as FilePath;

use cel::cost::RUNTIME_BUDGET;
use cel::kube::rules::{Rules, check};
use proto::field::Path;
use serde_json::Value as Json;

/// The text without the number that names of types have.
fn unnumbered(text: &str) -> String {
    let mut parts = text.split("selfType");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("selfType");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

#[test]
fn rules_are_checked_and_applied_as_upstream() {
    let path = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/rules.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut count, mut wrong) = (0, String::new());
    for line in text.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let expected: Vec<&str> =
            case["errors"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        count += 1;
        let errors = if case["define"] == true {
            let path = Path::dotted("spec.validation.openAPIV3Schema");
            check(&path, &case["schema"], false)
        } else {
            let budget = case["budget"].as_i64().unwrap_or(RUNTIME_BUDGET);
            let validate = |rules: &Rules| {
                rules.validate(&Path::default(), &case["self"], case.get("old"), budget).errors
            };
            Rules::new(&case["schema"]).as_ref().map(validate).unwrap_or_default()
        };
        let found: Vec<String> = errors.iter().map(|error| unnumbered(&error.to_string())).collect();
        if found != expected {
            let _ = write!(
                wrong,
                "\n  {}\n    self {} old {}\n    expected {expected:#?}\n    found    {found:#?}",
                case["schema"], case["self"], case["old"]
            );
        }
    }
    assert!(count > 0);
    assert!(wrong.is_empty(), "{wrong}");
}
