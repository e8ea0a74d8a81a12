//! Expressions about claims and users.

use std::sync::Arc;

use cel::cost::PER_CALL_LIMIT;
use cel::kube::admission::object_types;
use cel::syntax::{Expr, Kind, Literal, op};
use cel::{Env, Program, Type, Value, library};

/// What an expression is about: the name of its only variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Claims,
    User,
}

impl About {
    fn name(self) -> &'static str {
        match self {
            About::Claims => "claims",
            About::User => "user",
        }
    }

    fn env(self) -> Env {
        match self {
            About::Claims => library::base().variable("claims", Type::map(Type::String, Type::Dyn)),
            About::User => library::base()
                .object_types(Arc::new(object_types()))
                .variable("user", Type::object("kubernetes.UserInfo")),
        }
    }
}

/// A compiled expression.
pub(super) struct Expression {
    text: String,
    about: About,
    program: Program,
}

impl Expression {
    /// Compiles an expression; a rule must give a truth value.
    pub(super) fn compile(text: &str, about: About, is_rule: bool) -> Result<Expression, String> {
        let env = about.env();
        let checked = env.compile(text).map_err(|issues| format!("compilation failed: {issues}"))?;
        if is_rule && *checked.output() != Type::Bool {
            return Err("must evaluate to bool".to_owned());
        }
        let program =
            Program::new(&checked, &env).map_err(|error| format!("program instantiation failed: {error}"))?;
        Ok(Expression { text: text.to_owned(), about, program })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its value, about this.
    pub(super) fn evaluate<'a>(&'a self, of: &Value<'a>) -> Result<Value<'a>, String> {
        let variables = vec![(self.about.name(), of.clone())];
        let outcome = self.program.evaluate(&variables, PER_CALL_LIMIT);
        outcome.value.map_err(|error| format!("expression '{}' resulted in error: {error}", self.text))
    }

    /// Whether it looks at this claim by name.
    pub(super) fn uses_claim(&self, claim: &str) -> bool {
        let options = self.about.env().options();
        cel::parse(&self.text, options).is_ok_and(|ast| selects(&ast.root, "claims", claim))
    }
}

/// Whether a part of the expression is `operand.field`, in one of its forms.
fn selects(expr: &Expr, operand: &str, field: &str) -> bool {
    let is_operand = |expr: &Expr| matches!(&expr.kind, Kind::Ident(name) if **name == *operand);
    let is_field =
        |expr: &Expr| matches!(&expr.kind, Kind::Literal(Literal::String(text)) if **text == *field);
    let found = match &expr.kind {
        Kind::Select(select) => is_operand(&select.operand) && *select.field == *field,
        Kind::Call(call) if *call.function == *op::OPT_SELECT && call.target.is_none() => {
            matches!(call.args.as_slice(), [of, name] if is_operand(of) && is_field(name))
        }
        _ => false,
    };
    if found {
        return true;
    }
    let mut below = false;
    expr.children(&mut |child| below = below || selects(child, operand, field));
    below
}

/// Text, or a list of texts; what is empty counts as absent.
pub(super) fn texts(value: &Value<'_>) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let mut texts = Vec::new();
    match value {
        Value::Null => {}
        Value::String(text) => texts.push(text.to_string()),
        Value::List(list) => {
            for item in list.iter() {
                let item = item.map_err(|error| error.to_string())?;
                texts.push(item.as_str().ok_or_else(wrong)?.to_owned());
            }
        }
        _ => return Err(wrong()),
    }
    texts.retain(|text| !text.is_empty());
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_checked() {
        let error =
            |text: &str, about, is_rule| Expression::compile(text, about, is_rule).err().unwrap_or_default();
        assert!(error("claims.", About::Claims, false).starts_with("compilation failed: ERROR: <input>:1:8"));
        assert!(error("user.username", About::Claims, false).contains("undeclared reference to 'user'"));
        assert!(error("claims.x", About::User, false).contains("undeclared reference to 'claims'"));
        assert!(error("user.nope", About::User, false).contains("undefined field 'nope'"));
        assert_eq!(error("claims.x", About::Claims, true), "must evaluate to bool");
        assert_eq!(error("claims.x == 'a'", About::Claims, true), "");
        assert_eq!(error("user.groups.all(g, !g.startsWith('system:'))", About::User, true), "");
    }

    #[test]
    fn claims_in_use_are_found() {
        for (text, uses) in [
            ("claims.email", true),
            ("claims.?email.orValue('')", true),
            ("has(claims.email) ? claims.sub : 'x'", true),
            ("[claims.sub].exists(c, c == claims.email)", true),
            ("{'a': claims.email}.a", true),
            ("claims.x.email", false),
            ("claims.email_verified", false),
            ("'claims.email'", false),
        ] {
            assert_eq!(
                Expression::compile(text, About::Claims, false).unwrap().uses_claim("email"),
                uses,
                "{text}"
            );
        }
    }

    #[test]
    fn names_may_be_identifiers() {
        let claims = json!({"a.b/c": {"x-y": 1.0}, "list": [{"if": "z"}], "n": null});
        let value = |text: &str| {
            let expression = Expression::compile(text, About::Claims, false).unwrap();
            expression.evaluate(&Value::named(&claims)).map(|value| value.to_json().unwrap())
        };
        assert_eq!(value("claims.a__dot__b__slash__c.x__dash__y"), Ok(json!(1.0)));
        assert_eq!(value("claims['a.b/c']['x-y']"), Ok(json!(1.0)));
        assert_eq!(value("claims.list[0].__if__"), Ok(json!("z")));
        assert_eq!(value("has(claims.a__dot__b__slash__c)"), Ok(json!(true)));
        assert_eq!(value("claims.list.map(e, e)"), Ok(json!([{"if": "z"}])));
        let missing = value("claims.gone").unwrap_err();
        assert_eq!(missing, "expression 'claims.gone' resulted in error: no such key: gone");
    }

    #[test]
    fn costs_are_limited() {
        let claims = json!({"list": vec![1; 500]});
        let text = "claims.list.all(a, claims.list.all(b, claims.list.all(c, a == b && b == c)))";
        let expression = Expression::compile(text, About::Claims, true).unwrap();
        assert!(expression.evaluate(&Value::named(&claims)).is_err());
    }

    #[test]
    fn lists_of_texts() {
        let of = |json: serde_json::Value| texts(&Value::json(&json));
        assert_eq!(of(json!("a")), Ok(vec!["a".to_owned()]));
        assert_eq!(of(json!(["a", "", "b"])), Ok(vec!["a".to_owned(), "b".to_owned()]));
        for empty in [json!(""), json!([]), json!(null), json!([""])] {
            assert_eq!(of(empty), Ok(vec![]));
        }
        for wrong in [json!(1), json!({}), json!(["a", 1]), json!([["a"]])] {
            assert!(of(wrong).is_err());
        }
    }
}
