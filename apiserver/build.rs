//! Collects the descriptions of Kubernetes' types and fields, which OpenAPI documents show, from the comments of the
//! `k8s-openapi` crate. There they are next to the names that they describe; nowhere else has Keelson a use for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The version of Kubernetes, as the crate names its directories; the feature of the same name is on.
const VERSION: &str = "v1_36";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let mut docs = BTreeMap::new();
    visit(&source().join("src").join(VERSION), &mut docs);
    assert!(!docs.is_empty(), "k8s-openapi has no {VERSION}");
    // Sorted lines, to be searched where they are.
    let text: String = docs.iter().map(|(key, description)| format!("{key}\t{description}\n")).collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("docs.txt"), text).expect("OUT_DIR can be written");
}

/// Where cargo has the source of the crate.
fn source() -> PathBuf {
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let ask = |extra: &[&str]| {
        let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform", &target];
        let output = Command::new(&cargo).args(arguments).args(extra).output().expect("cargo runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let metadata = ask(&["--offline"]).or_else(|| ask(&[])).expect("cargo tells where packages are");
    let package = metadata.split("\"name\":\"k8s-openapi\",\"version\"").nth(1);
    let manifest = package.and_then(|rest| rest.split("\"manifest_path\":\"").nth(1)?.split('"').next());
    let manifest = Path::new(manifest.expect("k8s-openapi is a dependency"));
    manifest.parent().expect("manifests are in directories").to_owned()
}

fn visit(directory: &Path, docs: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            visit(&path, docs);
        } else if let Ok(text) = fs::read_to_string(&path) {
            collect(&text, docs);
        }
    }
}

/// Collects from a file: `// Generated from definition MODEL`, a struct and its fields with comments, and further down how the
/// fields are called in JSON.
fn collect(text: &str, docs: &mut BTreeMap<String, String>) {
    let (mut model, mut comment) = ("", Vec::new());
    let mut fields = BTreeMap::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(name) = line.strip_prefix("// Generated from definition ") {
            model = name;
        } else if let Some(more) = trimmed.strip_prefix("///") {
            comment.push(more.strip_prefix(' ').unwrap_or(more));
        } else if line.starts_with("pub struct ") || line.starts_with("pub enum ") {
            add(docs, model.to_owned(), &comment);
            comment.clear();
        } else if let Some((field, _)) = line.strip_prefix("    pub ").and_then(|field| field.split_once(':'))
        {
            fields.insert(field, std::mem::take(&mut comment));
        } else if let Some((json, field)) = trimmed.split_once("\" => Field::Key_") {
            if let Some(comment) = fields.get(field.trim_end_matches(',')) {
                add(docs, format!("{model}#{}", json.trim_start_matches('"')), comment);
            }
        } else if !trimmed.starts_with("#[") {
            comment.clear();
        }
    }
}

fn add(docs: &mut BTreeMap<String, String>, key: String, comment: &[&str]) {
    let text = comment.join("\n");
    let mut description = String::with_capacity(text.len());
    let mut letters = text.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // What Markdown would take for its own is escaped.
            '\\' if letters.peek().is_some_and(char::is_ascii_punctuation) => {}
            '\n' => description.push_str("\\n"),
            letter => description.push(letter),
        }
    }
    if !key.starts_with('#') && !description.is_empty() {
        docs.insert(key, description);
    }
}
