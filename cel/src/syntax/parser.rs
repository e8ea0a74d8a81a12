//! Tokens to syntax tree.

use std::sync::Arc;

use super::ast::{Ast, Call, Entry, Expr, Id, Kind, Literal, NO_OFFSET, Select, Struct, StructField, op};
use super::lexer::{Token, TokenKind, tokens};
use super::unescape::unescape;
use crate::source::{Issues, Location, Source};

/// What the language has beside cel-go's standard definition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The macro `cel.bind(name, value, expression)`.
    pub bind: bool,
}

/// The longest text.
pub(super) const SIZE_MAX: usize = 100_000;
const DEPTH_MAX: usize = 250;
/// Parsers and checkers recurse; this keeps them off the end of small stacks.
pub(crate) fn with_stack<R>(f: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(128 * 1024, 2 * 1024 * 1024, f)
}

/// Parses an expression and expands its macros.
///
/// # Errors
///
/// What is wrong with the syntax; of the parser's own errors only the first.
pub fn parse(text: &str, options: Options) -> Result<Ast, Issues> {
    let source = Source::new(text);
    let mut issues = Issues::new(&source);
    let size = text.chars().count();
    if size > SIZE_MAX {
        let message = format!("expression code point size exceeds limit: size: {size}, limit {SIZE_MAX}");
        issues.report(Location::NONE, message);
        return Err(issues);
    }
    let tokens = tokens(&source, &mut issues);
    let mut parser =
        Parser { tokens, at: 0, source: &source, issues, offsets: vec![NO_OFFSET], depth: 0, options };
    let root = parser.whole();
    let Parser { issues, offsets, .. } = parser;
    match root {
        Ok(root) if issues.is_empty() => Ok(Ast { root, source, offsets }),
        _ => Err(issues),
    }
}

/// Parsing stopped; the reason has been reported.
pub(super) struct Stop;

pub(super) struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    source: &'a Source,
    issues: Issues,
    offsets: Vec<u32>,
    depth: usize,
    pub(super) options: Options,
}

/// An expression and the number of operators and selections nested in it.
struct Node {
    expr: Expr,
    height: usize,
}

type Parsed<T = Node> = Result<T, Stop>;

const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// What may begin an operand, and what else may come, as ANTLR prints sets of tokens.
fn operands(opened: &str, after_brace: &str, after_paren: &str, before_true: &str) -> String {
    format!(
        "{{'['{opened}, '{{'{after_brace}, '('{after_paren}, '-', '!'{before_true}, 'true', 'false', 'null', \
         NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}}"
    )
}

impl<'a> Parser<'a> {
    pub(super) fn id(&mut self, offset: u32) -> Id {
        self.offsets.push(offset);
        self.offsets.len() as Id - 1
    }

    /// How many nodes there are so far.
    pub(super) fn nodes(&self) -> usize {
        self.offsets.len()
    }

    /// A new id at the place of another node.
    pub(super) fn id_at(&mut self, other: Id) -> Id {
        let offset = self.offsets.get(other as usize).copied().unwrap_or(NO_OFFSET);
        self.id(offset)
    }

    pub(super) fn report(&mut self, at: Id, message: &str) {
        let offset = self.offsets.get(at as usize).copied().unwrap_or(NO_OFFSET);
        let location = if offset == NO_OFFSET { Location::NONE } else { self.source.location(offset) };
        self.issues.report(location, message);
    }

    fn token(&self) -> Token<'a> {
        self.peek(0)
    }

    fn peek(&self, ahead: usize) -> Token<'a> {
        self.tokens[(self.at + ahead).min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.token();
        self.at += 1;
        token
    }

    fn accept(&mut self, symbol: &str) -> Option<Token<'a>> {
        self.token().is(symbol).then(|| self.next())
    }

    fn fail(&mut self, message: String) -> Stop {
        let location = self.source.location(self.token().offset);
        self.issues.report(location, format!("Syntax error: {message}"));
        Stop
    }

    fn limit(&mut self, message: String) -> Stop {
        self.issues.report(Location::NONE, message);
        Stop
    }

    /// Takes a token that must come here. `follows` says what may come after it.
    fn expect(&mut self, symbol: &str, follows: fn(&Token<'_>) -> bool) -> Parsed<Token<'a>> {
        if let Some(token) = self.accept(symbol) {
            return Ok(token);
        }
        let found = self.token().display();
        Err(if self.peek(1).is(symbol) {
            self.fail(format!("extraneous input {found} expecting '{symbol}'"))
        } else if follows(&self.token()) && (self.depth > 1 || !closes(&self.token())) {
            self.fail(format!("missing '{symbol}' at {found}"))
        } else {
            self.fail(format!("mismatched input {found} expecting '{symbol}'"))
        })
    }

    /// Fails as ANTLR does where one of several tokens should come.
    fn unexpected(&mut self, set: &str, may_come: impl Fn(&Token<'_>) -> bool) -> Stop {
        let found = self.token().display();
        let what = if may_come(&self.peek(1)) { "extraneous" } else { "mismatched" };
        self.fail(format!("{what} input {found} expecting {set}"))
    }

    fn whole(&mut self) -> Parsed<Expr> {
        let node = self.expr(&operands("", "", ", '.'", ""))?;
        match self.token().kind {
            TokenKind::Eof => Ok(node.expr),
            _ => Err(self.unexpected("<EOF>", |token| token.kind == TokenKind::Eof)),
        }
    }

    fn grown(&mut self, height: usize) -> Parsed<usize> {
        match height {
            0..=DEPTH_MAX => Ok(height),
            _ => Err(self.limit("max recursion depth exceeded".into())),
        }
    }

    fn expr(&mut self, set: &str) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.limit(format!("expression recursion limit exceeded: {DEPTH_MAX}")));
        }
        let node = with_stack(|| self.ternary(set));
        self.depth -= 1;
        node
    }

    fn ternary(&mut self, set: &str) -> Parsed {
        let condition = self.logic(set, "||")?;
        let Some(token) = self.accept("?") else { return Ok(condition) };
        let id = self.id(token.offset);
        let operand = operands("", "", ", '.'", "");
        let yes = self.logic(&operand, "||")?;
        self.expect(":", starts_operand)?;
        let no = self.expr(&operand)?;
        let height = self.grown(1 + condition.height.max(yes.height).max(no.height))?;
        Ok(Node { expr: call(id, op::CONDITIONAL, vec![condition.expr, yes.expr, no.expr]), height })
    }

    /// Terms joined by `||` or `&&`, as a balanced tree.
    fn logic(&mut self, set: &str, symbol: &str) -> Parsed {
        let or = symbol == "||";
        let operand = operands("", "", ", '.'", "");
        let term = |parser: &mut Self, set: &str| {
            if or { parser.logic(set, "&&") } else { parser.binary(set, 0) }
        };
        let first = term(self, set)?;
        let (mut height, mut terms, mut ids) = (first.height, vec![Some(first.expr)], Vec::new());
        while let Some(token) = self.accept(symbol) {
            let next = term(self, &operand)?;
            ids.push(self.id(token.offset));
            height = height.max(next.height);
            terms.push(Some(next.expr));
        }
        let expr = balance(if or { op::OR } else { op::AND }, &mut terms, &ids);
        Ok(Node { expr, height })
    }

    /// Comparisons (level 0), sums (1) and products (2), all left-associative.
    fn binary(&mut self, set: &str, level: usize) -> Parsed {
        const LEVELS: [&[(&str, &str)]; 3] = [
            &[
                ("<", op::LT),
                ("<=", op::LE),
                (">=", op::GE),
                (">", op::GT),
                ("==", op::EQ),
                ("!=", op::NE),
                ("in", op::IN),
            ],
            &[("+", op::ADD), ("-", op::SUB)],
            &[("*", op::MUL), ("/", op::DIV), ("%", op::REM)],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary(set) };
        let mut left = self.binary(set, level + 1)?;
        loop {
            let token = self.token();
            let is_operator = matches!(token.kind, TokenKind::Symbol | TokenKind::In);
            let found = operators.iter().find(|(symbol, _)| is_operator && *symbol == token.text);
            let Some((_, function)) = found else { return Ok(left) };
            self.at += 1;
            let id = self.id(token.offset);
            let right = self.binary(&operands("", "", ", '.'", ""), level + 1)?;
            let height = self.grown(1 + left.height.max(right.height))?;
            left = Node { expr: call(id, function, vec![left.expr, right.expr]), height };
        }
    }

    fn unary(&mut self, set: &str) -> Parsed {
        let first = self.token();
        for (symbol, function) in [("!", op::NOT), ("-", op::NEG)] {
            if !first.is(symbol) {
                continue;
            }
            let count = (0..).take_while(|ahead| self.peek(*ahead).is(symbol)).count();
            let number = matches!(self.peek(1).kind, TokenKind::Int | TokenKind::Float);
            if symbol == "-" && count == 1 && number {
                break;
            }
            self.at += count;
            let id = self.id(first.offset);
            let set = "{'[', '{', '(', '.', '-', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
            let operand = self.member(set)?;
            return Ok(match count % 2 {
                0 => operand,
                _ => Node { expr: call(id, function, vec![operand.expr]), height: operand.height },
            });
        }
        self.member(set)
    }

    fn member(&mut self, set: &str) -> Parsed {
        let mut node = self.primary(set)?;
        loop {
            if let Some(dot) = self.accept(".") {
                node = self.select(node, dot)?;
            } else if let Some(open) = self.accept("[") {
                let id = self.id(open.offset);
                let optional = self.accept("?").is_some();
                let before_true = if optional { "" } else { ", '?'" };
                let index = self.expr(&operands("", "", ", '.'", before_true))?;
                self.expect("]", continues)?;
                let height = self.grown(1 + node.height.max(index.height))?;
                let function = if optional { op::OPT_INDEX } else { op::INDEX };
                node = Node { expr: call(id, function, vec![node.expr, index.expr]), height };
            } else {
                return Ok(node);
            }
        }
    }

    fn select(&mut self, operand: Node, dot: Token<'a>) -> Parsed {
        let optional = self.accept("?").is_some();
        let name = self.token();
        match name.kind {
            TokenKind::Ident => {}
            TokenKind::EscapedIdent => {
                let id = self.id(name.offset);
                self.report(id, "unsupported syntax: '`'");
                return Err(Stop);
            }
            TokenKind::True | TokenKind::False | TokenKind::Null if !optional => {
                let message = format!("mismatched input '{}' expecting IDENTIFIER", name.text);
                return Err(self.fail(message));
            }
            _ if optional => {
                return Err(
                    self.unexpected("{IDENTIFIER, ESC_IDENTIFIER}", |token| token.kind == TokenKind::Ident)
                );
            }
            _ => {
                let message = format!("no viable alternative at input '.{}'", name.text);
                return Err(self.fail(message));
            }
        }
        self.at += 1;
        let field: Arc<str> = name.text.into();
        if optional {
            let height = self.grown(1 + operand.height)?;
            let (id, name_id) = (self.id(dot.offset), self.id(name.offset));
            let name = Expr { id: name_id, kind: Kind::Literal(Literal::String(field)) };
            return Ok(Node { expr: call(id, op::OPT_SELECT, vec![operand.expr, name]), height });
        }
        if let Some(open) = self.accept("(") {
            let id = self.id(open.offset);
            let (args, height) = self.args()?;
            let height = self.grown(1 + height.max(operand.height))?;
            let expr = self.expand(id, field, Some(operand.expr), args);
            return Ok(Node { expr, height });
        }
        let height = self.grown(1 + operand.height)?;
        let select = Select { operand: operand.expr, field, test_only: false };
        Ok(Node { expr: Expr { id: self.id(dot.offset), kind: Kind::Select(select.into()) }, height })
    }

    /// The arguments of a call and its closing parenthesis.
    fn args(&mut self) -> Parsed<(Vec<Expr>, usize)> {
        let (mut args, mut height) = (Vec::new(), 0);
        if self.accept(")").is_some() {
            return Ok((args, height));
        }
        let mut set = operands("", "", ", ')', '.'", "");
        loop {
            let arg = self.expr(&set)?;
            height = height.max(arg.height);
            args.push(arg.expr);
            if self.accept(",").is_none() {
                self.expect(")", continues)?;
                return Ok((args, height));
            }
            set = operands("", "", ", '.'", "");
        }
    }

    fn primary(&mut self, set: &str) -> Parsed {
        let token = self.token();
        let literal = |parser: &mut Self, kind| {
            parser.at += 1;
            Ok(Node { expr: Expr { id: parser.id(token.offset), kind: Kind::Literal(kind) }, height: 0 })
        };
        match token.kind {
            TokenKind::True => literal(self, Literal::Bool(true)),
            TokenKind::False => literal(self, Literal::Bool(false)),
            TokenKind::Null => literal(self, Literal::Null),
            TokenKind::Int | TokenKind::Uint | TokenKind::Float => self.number(),
            TokenKind::String => {
                let value = self.quoted(token, false)?;
                let value = String::from_utf8_lossy(&value).into();
                literal(self, Literal::String(value))
            }
            TokenKind::Bytes => {
                let value = self.quoted(token, true)?;
                literal(self, Literal::Bytes(value.into()))
            }
            TokenKind::Ident => self.name(None),
            TokenKind::Symbol => match token.text {
                "-" if matches!(self.peek(1).kind, TokenKind::Int | TokenKind::Float) => self.number(),
                "(" => {
                    self.at += 1;
                    let node = self.expr(&operands("", "", ", '.'", ""))?;
                    self.expect(")", continues)?;
                    Ok(node)
                }
                "[" => self.list(),
                "{" => self.map(),
                "." if self.peek(1).kind == TokenKind::Ident => {
                    self.at += 1;
                    self.name(Some(token))
                }
                "." => {
                    self.at += 1;
                    Err(self.unexpected("IDENTIFIER", |token| token.kind == TokenKind::Ident))
                }
                _ => Err(self.unexpected(set, starts_operand)),
            },
            _ => Err(self.unexpected(set, starts_operand)),
        }
    }

    fn quoted(&mut self, token: Token<'a>, is_bytes: bool) -> Parsed<Vec<u8>> {
        let text = if is_bytes { &token.text[1..] } else { token.text };
        unescape(text, is_bytes).map_err(|message| {
            let id = self.id(token.offset);
            self.report(id, message);
            Stop
        })
    }

    fn number(&mut self) -> Parsed {
        let first = self.next();
        let token = if first.is("-") { self.next() } else { first };
        let sign = if first.is("-") { "-" } else { "" };
        let id = self.id(first.offset);
        let digits = token.text.trim_end_matches(['u', 'U']);
        let (radix, digits) = match digits.strip_prefix("0x") {
            Some(digits) => (16, digits),
            None => (10, digits),
        };
        let (literal, what) = match token.kind {
            TokenKind::Float => {
                let value = format!("{sign}{digits}").parse::<f64>().ok().filter(|value| value.is_finite());
                (value.map(Literal::Double), "double")
            }
            TokenKind::Uint => (u64::from_str_radix(digits, radix).ok().map(Literal::Uint), "uint"),
            _ => (i64::from_str_radix(&format!("{sign}{digits}"), radix).ok().map(Literal::Int), "int"),
        };
        match literal {
            Some(literal) => Ok(Node { expr: Expr { id, kind: Kind::Literal(literal) }, height: 0 }),
            None => {
                self.report(id, &format!("invalid {what} literal"));
                Err(Stop)
            }
        }
    }

    /// A variable, a function, or the construction of an object.
    fn name(&mut self, dot: Option<Token<'a>>) -> Parsed {
        let mut last = 0;
        while self.peek(last + 1).is(".") && self.peek(last + 2).kind == TokenKind::Ident {
            last += 2;
        }
        let lead = if dot.is_some() { "." } else { "" };
        if self.peek(last + 1).is("{") {
            let name: String = (0..=last).map(|ahead| self.peek(ahead).text).collect();
            self.at += last + 1;
            return self.object(format!("{lead}{name}").into());
        }
        let token = self.next();
        if RESERVED.contains(&token.text) {
            let id = self.id(dot.unwrap_or(token).offset);
            self.report(id, &format!("reserved identifier: {}", token.text));
            return Err(Stop);
        }
        let name: Arc<str> = format!("{lead}{}", token.text).into();
        if let Some(open) = self.accept("(") {
            let id = self.id(open.offset);
            let (args, height) = self.args()?;
            return Ok(Node { expr: self.expand(id, name, None, args), height });
        }
        Ok(Node { expr: Expr { id: self.id(token.offset), kind: Kind::Ident(name) }, height: 0 })
    }

    /// Whether the entries of a list, map or object end here; otherwise a comma and another entry follow.
    fn ends(&mut self, close: &str, begins: fn(&Token<'_>) -> bool) -> Parsed<bool> {
        if self.accept(close).is_some() {
            return Ok(true);
        }
        if self.accept(",").is_none() {
            let set = format!("{{'{close}', ','}}");
            return Err(self.unexpected(&set, |token| token.is(close) || token.is(",")));
        }
        if begins(&self.token()) {
            return Ok(false);
        }
        self.expect(close, continues)?;
        Ok(true)
    }

    fn list(&mut self) -> Parsed {
        let open = self.next();
        let id = self.id(open.offset);
        let (mut elements, mut height) = (Vec::new(), 0);
        let mut done = self.empty("]")?;
        while !done {
            let optional = self.accept("?").is_some();
            let element = self.expr(&operands(", ']'", "", ", '.', ','", ", '?'"))?;
            height = height.max(element.height);
            elements.push((element.expr, optional));
            done = self.ends("]", starts_entry)?;
        }
        Ok(Node { expr: Expr { id, kind: Kind::List(elements) }, height })
    }

    /// Takes the end of an empty list, map or object, which may hold a comma.
    fn empty(&mut self, close: &str) -> Parsed<bool> {
        if self.token().is(",") && self.peek(1).is(close) {
            self.at += 1;
        }
        Ok(self.accept(close).is_some())
    }

    fn map(&mut self) -> Parsed {
        let open = self.next();
        let id = self.id(open.offset);
        let (mut entries, mut height) = (Vec::new(), 0);
        let mut done = self.empty("}")?;
        while !done {
            let optional = self.accept("?").is_some();
            let key = self.expr(&operands("", ", '}'", ", '.', ','", ", '?'"))?;
            let colon = self.expect(":", starts_operand)?;
            let entry = self.id(colon.offset);
            let value = self.expr(&operands("", "", ", '.'", ""))?;
            height = height.max(key.height).max(value.height);
            entries.push(Entry { id: entry, key: key.expr, value: value.expr, optional });
            done = self.ends("}", starts_entry)?;
        }
        Ok(Node { expr: Expr { id, kind: Kind::Map(entries) }, height })
    }

    fn object(&mut self, name: Arc<str>) -> Parsed {
        let open = self.next();
        let id = self.id(open.offset);
        let (mut fields, mut height) = (Vec::new(), 0);
        let mut done = self.empty("}")?;
        while !done {
            let optional = self.accept("?").is_some();
            let field = self.token();
            match field.kind {
                TokenKind::Ident => self.at += 1,
                TokenKind::EscapedIdent => {
                    let id = self.id(field.offset);
                    self.report(id, "unsupported syntax: '`'");
                    return Err(Stop);
                }
                _ => {
                    let set = "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}";
                    return Err(self.unexpected(set, |token| token.kind == TokenKind::Ident || token.is("}")));
                }
            }
            let colon = self.expect(":", starts_operand)?;
            let field_id = self.id(colon.offset);
            let value = self.expr(&operands("", "", ", '.'", ""))?;
            height = height.max(value.height);
            fields.push(StructField { id: field_id, name: field.text.into(), value: value.expr, optional });
            done = self.ends("}", |token| token.is("?") || token.kind == TokenKind::Ident)?;
        }
        Ok(Node { expr: Expr { id, kind: Kind::Struct(Struct { name, fields }.into()) }, height })
    }
}

pub(super) fn call(id: Id, function: &str, args: Vec<Expr>) -> Expr {
    Expr { id, kind: Kind::Call(Call { function: function.into(), target: None, args }.into()) }
}

/// Joins terms, of which there is one more than operators, in a balanced tree.
fn balance(function: &str, terms: &mut [Option<Expr>], ids: &[Id]) -> Expr {
    if ids.is_empty() {
        let missing = Expr { id: 0, kind: Kind::Unspecified };
        return terms.first_mut().and_then(Option::take).unwrap_or(missing);
    }
    let middle = ids.len() / 2;
    let (left, right) = terms.split_at_mut(middle + 1);
    let left = balance(function, left, &ids[..middle]);
    let right = balance(function, right, &ids[middle + 1..]);
    call(ids[middle], function, vec![left, right])
}

fn starts_operand(token: &Token<'_>) -> bool {
    match token.kind {
        TokenKind::Eof | TokenKind::In | TokenKind::EscapedIdent => false,
        TokenKind::Symbol => matches!(token.text, "[" | "{" | "(" | "." | "-" | "!"),
        _ => true,
    }
}

fn starts_entry(token: &Token<'_>) -> bool {
    token.is("?") || starts_operand(token)
}

/// Whether a token may come only within something that was opened.
fn closes(token: &Token<'_>) -> bool {
    token.kind == TokenKind::Symbol && matches!(token.text, "," | ":" | ")" | "]" | "}")
}

/// Whether a token may come after an operand.
fn continues(token: &Token<'_>) -> bool {
    match token.kind {
        TokenKind::Eof | TokenKind::In => true,
        TokenKind::Symbol => !matches!(token.text, "{" | "(" | "!"),
        _ => false,
    }
}
