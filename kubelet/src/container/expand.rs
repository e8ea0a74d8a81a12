//! `$(VAR)` references in commands, arguments and values.

/// Replaces `$(NAME)` by what `lookup` finds and leaves it as it is otherwise; `$$` stands for `$`.
pub fn expand(input: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(body) = rest.strip_prefix('(') {
            match body.find(')') {
                Some(end) => {
                    let name = &body[..end];
                    out.push_str(&lookup(name).unwrap_or_else(|| format!("$({name})")));
                    rest = &body[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = body;
                }
            }
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand() {
        let lookup = |name: &str| (name == "A").then(|| "x".to_string());
        for (input, want) in [
            ("$(A)", "x"),
            ("a-$(A)-$(B)", "a-x-$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$x"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("$", "$"),
            ("$()", "$()"),
            ("", ""),
        ] {
            assert_eq!(expand(input, lookup), want, "{input}");
        }
    }
}
