//! The subset of the Containerfile language that images FROM scratch need.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// What a container of the image runs, in the OCI image specification's terms.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) ports: Vec<String>,
}

/// `COPY source target`: both as written.
#[derive(Debug, PartialEq)]
pub(crate) struct Copy {
    pub(crate) source: String,
    pub(crate) target: String,
}

/// A parsed Containerfile.
#[derive(Default, Debug)]
pub(crate) struct Recipe {
    pub(crate) copies: Vec<Copy>,
    pub(crate) config: Config,
}

/// Parses a Containerfile; an instruction outside the subset is an error that names its line.
pub(crate) fn parse(text: &str) -> Result<Recipe> {
    let mut recipe = Recipe::default();
    let mut from = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        instruction(&mut recipe, &mut from, &word.to_ascii_uppercase(), rest)
            .with_context(|| format!("line {}: {line}", number + 1))?;
    }
    if !from {
        bail!("FROM scratch is missing");
    }
    Ok(recipe)
}

fn instruction(recipe: &mut Recipe, from: &mut bool, word: &str, rest: &str) -> Result<()> {
    let config = &mut recipe.config;
    match word {
        "FROM" if rest == "scratch" => *from = true,
        "FROM" => bail!("only FROM scratch can be built without an engine"),
        "COPY" => {
            let parts: Vec<&str> = rest.split_whitespace().collect();
            let [source, target] = parts[..] else { bail!("COPY takes one source and one target") };
            recipe.copies.push(Copy { source: source.into(), target: target.into() });
        }
        "ENV" => config.env.push(rest.to_string()),
        "ENTRYPOINT" => config.entrypoint = exec_form(rest)?,
        "CMD" => config.cmd = exec_form(rest)?,
        "USER" => config.user = Some(rest.to_string()),
        "WORKDIR" => config.workdir = Some(rest.to_string()),
        "EXPOSE" => config.ports.push(if rest.contains('/') { rest.into() } else { format!("{rest}/tcp") }),
        "LABEL" => {
            let (key, value) = rest.split_once('=').context("LABEL takes key=value")?;
            config.labels.insert(key.into(), value.trim_matches('"').into());
        }
        other => {
            bail!("{other} is not supported (FROM, COPY, ENV, ENTRYPOINT, CMD, USER, WORKDIR, EXPOSE, LABEL)")
        }
    }
    Ok(())
}

fn exec_form(rest: &str) -> Result<Vec<String>> {
    serde_json::from_str(rest).context("only the exec form is supported: [\"program\", \"argument\"]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_subset() {
        let text = "# why\nFROM scratch\nCOPY pause /pause\nENV PATH=/bin\nUSER 65535:65535\nEXPOSE 53/udp\nENTRYPOINT [\"/pause\"]\n";
        let recipe = parse(text).unwrap();
        assert_eq!(recipe.copies, [Copy { source: "pause".into(), target: "/pause".into() }]);
        assert_eq!(recipe.config.entrypoint, ["/pause"]);
        assert_eq!(recipe.config.user.as_deref(), Some("65535:65535"));
        assert_eq!(recipe.config.ports, ["53/udp"]);
    }

    #[test]
    fn names_the_line_of_what_it_cannot_build() {
        for (text, want) in [
            ("FROM scratch\nRUN make", "line 2: RUN make"),
            ("FROM debian", "line 1: FROM debian"),
            ("FROM scratch\nCOPY a b c", "line 2"),
            ("COPY a b", "FROM scratch is missing"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }
}
