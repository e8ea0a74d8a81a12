//! JSONPath as kubectl and printer columns have it: fields, indexes, slices, unions, wildcards, recursion and filters.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// `*`
    All,
    /// `..`: this value and all below it.
    Below,
    /// `[1]`, `[1:3]`, `[::2]`: from, to and step.
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// `[0,2]` or `['a','b']`
    Union(Vec<Step>),
    /// `[?(@.a=="b")]`
    Filter(Operand, Compare, Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Path),
    Constant(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const COMPARES: [(&str, Compare); 6] = [
    ("==", Compare::Equal),
    ("!=", Compare::NotEqual),
    ("<=", Compare::LessOrEqual),
    (">=", Compare::GreaterOrEqual),
    ("<", Compare::Less),
    (">", Compare::Greater),
];

/// How many values one path may visit.
const MOST: usize = 100_000;

impl Path {
    /// Parses a path such as `.status.conditions[?(@.type=="Ready")].status`.
    pub(super) fn parse(text: &str) -> Option<Path> {
        let mut parser = Parser { rest: text.trim(), depth: 0 };
        let path = parser.path()?;
        parser.rest.is_empty().then_some(path)
    }

    /// The values it leads to.
    pub(super) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.apply(value, &mut next);
                if next.len() > MOST {
                    return Vec::new();
                }
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) {
        match self {
            Step::Field(name) => out.extend(value.get(name)),
            Step::All => match value {
                Value::Array(items) => out.extend(items),
                Value::Object(fields) => out.extend(fields.values()),
                _ => {}
            },
            Step::Below => {
                out.push(value);
                let below: Vec<&Value> = match value {
                    Value::Array(items) => items.iter().collect(),
                    Value::Object(fields) => fields.values().collect(),
                    _ => Vec::new(),
                };
                for value in below {
                    if out.len() <= MOST {
                        self.apply(value, out);
                    }
                }
            }
            Step::Slice(from, to, step) => {
                let Value::Array(items) = value else { return };
                let length = items.len() as i64;
                let place = |at: i64| if at < 0 { at + length } else { at };
                let from = place(from.unwrap_or(0)).max(0);
                let to = to.map_or(length, place).min(length);
                let step = step.unwrap_or(1).max(1) as usize;
                let places = (from..to).step_by(step).filter_map(|i| usize::try_from(i).ok());
                out.extend(places.filter_map(|i| items.get(i)));
            }
            Step::Union(steps) => steps.iter().for_each(|step| step.apply(value, out)),
            Step::Filter(left, compare, right) => {
                let Value::Array(items) = value else { return };
                out.extend(items.iter().filter(|item| holds(left, *compare, right, item)));
            }
        }
    }
}

fn holds(left: &Operand, compare: Compare, right: &Operand, item: &Value) -> bool {
    let get = |operand: &Operand| match operand {
        Operand::Constant(value) => Some(value.clone()),
        Operand::Path(path) => match path.find(item).as_slice() {
            [one] => Some((*one).clone()),
            _ => None,
        },
    };
    if compare == Compare::Exists {
        return get(left).is_some();
    }
    let (Some(left), Some(right)) = (get(left), get(right)) else { return false };
    let order = match (&left, &right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match compare {
        Compare::Exists => true,
        Compare::Equal => left == right || order == Some(std::cmp::Ordering::Equal),
        Compare::NotEqual => left != right,
        Compare::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Compare::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Compare::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Compare::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Steps, until something that is none.
    fn path(&mut self) -> Option<Path> {
        let mut steps = Vec::new();
        loop {
            if self.take("..") {
                steps.push(Step::Below);
                if !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.take(".") {
                if !self.rest.is_empty() && !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.rest.starts_with('[') {
                steps.push(self.bracket()?);
            } else {
                return Some(Path(steps));
            }
        }
    }

    fn name(&mut self) -> Option<Step> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | ')' | '(' | '=' | '!' | '<' | '>' | ' ' | '{' | '}' | '$' | '@' | '|' => {
                    end = i;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => None,
            "*" => Some(Step::All),
            _ => Some(Step::Field(name)),
        }
    }

    fn bracket(&mut self) -> Option<Step> {
        const DEEPEST: usize = 16;
        self.take("[");
        if self.take("?(") {
            self.depth += 1;
            let filter = (self.depth <= DEEPEST).then(|| self.filter()).flatten();
            self.depth -= 1;
            return filter;
        }
        let end = self.closing()?;
        let inner = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        let parts: Vec<&str> = split(inner);
        let mut steps = parts.into_iter().map(|part| element(part.trim())).collect::<Option<Vec<_>>>()?;
        match steps.len() {
            1 => steps.pop(),
            _ => Some(Step::Union(steps)),
        }
    }

    /// Where the bracket ends, quotes considered.
    fn closing(&self) -> Option<usize> {
        let mut quote = None;
        let mut escaped = false;
        for (i, c) in self.rest.char_indices() {
            match (c, quote) {
                _ if escaped => escaped = false,
                ('\\', Some(_)) => escaped = true,
                (']', None) => return Some(i),
                ('\'' | '"', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                _ => {}
            }
        }
        None
    }

    fn filter(&mut self) -> Option<Step> {
        let left = self.operand()?;
        self.rest = self.rest.trim_start();
        let compare = COMPARES.iter().find(|(text, _)| self.rest.starts_with(text));
        let step = match compare {
            None => Step::Filter(left, Compare::Exists, Operand::Constant(Value::Null)),
            Some((text, compare)) => {
                self.take(text);
                self.rest = self.rest.trim_start();
                let right = self.operand()?;
                Step::Filter(left, *compare, right)
            }
        };
        self.rest = self.rest.trim_start();
        self.take(")]").then_some(step)
    }

    fn operand(&mut self) -> Option<Operand> {
        self.rest = self.rest.trim_start();
        if self.take("@") {
            return self.path().map(Operand::Path);
        }
        if self.rest.starts_with('.') {
            return self.path().map(Operand::Path);
        }
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        if let Some(quote) = quote {
            let inner = &self.rest[1..];
            let end = inner.find(quote)?;
            self.rest = &inner[end + 1..];
            return Some(Operand::Constant(inner[..end].into()));
        }
        let end = self.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let value: Value = serde_json::from_str(word).ok()?;
        (value.is_number() || value.is_boolean()).then_some(Operand::Constant(value))
    }
}

/// The parts between commas, quotes considered.
fn split(text: &str) -> Vec<&str> {
    let mut quote = None;
    let mut parts = Vec::new();
    let mut start = 0;
    for (i, c) in text.char_indices() {
        match (c, quote) {
            (',', None) => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// One element of a bracket: `*`, a quoted name, an index or a slice.
fn element(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return Some(Step::Field(inner.replace("\\'", "'").replace("\\.", ".")));
        }
    }
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        text => text.parse::<i64>().ok().map(Some),
    };
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [one] => {
            let at: i64 = one.parse().ok()?;
            Some(Step::Slice(Some(at), if at == -1 { None } else { Some(at.checked_add(1)?) }, None))
        }
        [from, to] => Some(Step::Slice(number(from)?, number(to)?, None)),
        [from, to, step] => Some(Step::Slice(number(from)?, number(to)?, number(step)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_values() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "l"}},
            "n": [1, 2, 3, 4],
            "status": {"conditions": [{"type": "A", "status": "1"}, {"type": "Ready", "status": "2", "n": 5}]},
        });
        let cases = [
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["2"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["2"])),
            (".status.conditions[?(@.n > 4)].type", json!(["Ready"])),
            (".status.conditions[?(@.n)].type", json!(["Ready"])),
            (".status.conditions[?(@.type!=\"Ready\")].type", json!(["A"])),
            (".status.conditions[0].type", json!(["A"])),
            (".status.conditions[-1].type", json!(["Ready"])),
            (".status.conditions[*].type", json!(["A", "Ready"])),
            (".n[1:3]", json!([2, 3])),
            (".n[0,3]", json!([1, 4])),
            (".n[::2]", json!([1, 3])),
            ("..type", json!(["A", "Ready"])),
            (".metadata.labels.a\\.b/c", json!(["l"])),
            (".metadata.labels['a.b/c']", json!(["l"])),
            (".spec.none", json!([])),
        ];
        for (path, want) in cases {
            let parsed = Path::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(json!(parsed.find(&object)), want, "{path}");
        }
        for bad in [".a[", ".a[?(@.b]", ".a[x]", "a b"] {
            assert_eq!(Path::parse(bad), None, "{bad}");
        }
    }
}
