//! Values made from bytes: each byte is a choice, so that a fuzzer that changes bytes changes values a little.

use proto::schema::{Shape, Type};
use serde_json::{Map, Number, Value, json};

/// How deep generated objects are.
const DEPTH: usize = 9;
/// How many values one object has at most.
const SIZE: usize = 400;

/// Texts that parsers and validation find interesting.
const TEXTS: &[&str] = &[
    "",
    "a",
    "a-b",
    "A_b",
    "-",
    ".",
    "..",
    "/",
    "a/b",
    "example.com",
    "example.com/a",
    "a/b/c",
    "*",
    "*.example.com",
    "1",
    "0",
    "-1",
    "100%",
    "101%",
    "1.5",
    "1e3",
    "99999999999999999999",
    "10.0.0.1",
    "10.0.0.1/8",
    "::1",
    "fd00::/8",
    "300.1.1.1",
    "v1",
    "apps/v1",
    "Always",
    "TCP",
    "ClusterIP",
    "None",
    "RollingUpdate",
    "Recreate",
    "OnDelete",
    "Exists",
    "In",
    "NoSchedule",
    "100m",
    "1Gi",
    "1Ei",
    "-1Gi",
    "0.000000001",
    "1h",
    "1h30m",
    "-1s",
    "1d",
    "2020-01-01T00:00:00Z",
    "2020-01-01T00:00:00.123456789+14:00",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "\0",
    "\u{e9}",
    "\u{4e2d}\u{6587}",
    "\u{2028}",
    "\"",
    "\\",
    "%",
    "$(a)",
    "$$(a)",
    "{}",
    "[]",
    "null",
    "true",
    "{.spec.a}",
    "self.a == 1",
    "^[a-z]+$",
    "(",
    "a,b",
    "a=b",
    "!a",
    "metadata.name",
    "spec.nodeName",
    "YQ==",
    "Y",
    "* * * * *",
    "@daily",
    "TZ=UTC 0 0 * * *",
    "61 * * * *",
    "http://a",
    "https://a:1/b?c#d@e",
    "unix:///a",
    "CN=a",
    "kubernetes.io/hostname",
    "node.kubernetes.io/x",
    "system:masters",
    "system:serviceaccount:a:b",
    "default",
    "sha256:x",
    "registry/a:b@sha256:c",
    "net.ipv4.ip_forward",
    "nvidia.com/gpu",
    "requests.cpu",
    "hugepages-2Mi",
];
const INTEGERS: &[i64] = &[
    0,
    1,
    -1,
    2,
    3,
    10,
    60,
    80,
    100,
    255,
    256,
    443,
    1000,
    30000,
    32767,
    32768,
    65535,
    65536,
    600,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
    1 << 53,
];

/// Choices taken from bytes; when they are used up, further ones follow from all of them, so that short inputs make
/// large objects too.
pub struct Source<'a> {
    bytes: &'a [u8],
    /// What further bytes are made of (xorshift): never 0.
    more: u64,
    left: usize,
}

impl<'a> Source<'a> {
    /// Choices from these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        // FNV-1a.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        Source { bytes, more: hash.max(1), left: SIZE }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            self.more ^= self.more << 13;
            self.more ^= self.more >> 7;
            self.more ^= self.more << 17;
            return (self.more >> 32) as u8;
        };
        self.bytes = rest;
        *first
    }

    /// A number below `n`, or 0.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = usize::from(self.byte()) | if n > 256 { usize::from(self.byte()) << 8 } else { 0 };
        if n == 0 { 0 } else { wide % n }
    }

    /// One of a list's items.
    pub fn pick<T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// A text, often one of those in use elsewhere.
    pub fn text(&mut self) -> String {
        let at = self.below(TEXTS.len() + 6);
        if let Some(text) = TEXTS.get(at) {
            return (*text).to_owned();
        }
        match at - TEXTS.len() {
            0 => "x".repeat(64),
            1 => "x".repeat(254),
            2 => TEXTS.get(self.below(TEXTS.len())).copied().unwrap_or_default().repeat(3),
            _ => {
                let len = self.below(12).min(self.bytes.len());
                let (now, later) = self.bytes.split_at(len);
                self.bytes = later;
                String::from_utf8_lossy(now).into_owned()
            }
        }
    }

    /// A number, often one of those at which something ends.
    pub fn integer(&mut self) -> i64 {
        self.pick(INTEGERS).copied().unwrap_or_default()
    }

    /// An object of a type.
    pub fn object(&mut self, ty: &Type) -> Value {
        self.structure(ty, 0)
    }

    fn structure(&mut self, ty: &Type, depth: usize) -> Value {
        let mut map = Map::new();
        // A byte says how much is set: from all to little.
        let sparse = 1 + self.below(if depth == 0 { 2 } else { 5 });
        ty.each_field(&mut |field| {
            if self.left == 0 || depth >= DEPTH || self.below(sparse) != 0 {
                return;
            }
            self.left -= 1;
            let allowed = field.values();
            let value = if !allowed.is_empty() && self.below(8) != 7 {
                let at = self.below(allowed.len());
                allowed.get(at).map(|v| Value::String(v.to_string())).unwrap_or_default()
            } else {
                self.shape(&field.shape, depth + 1)
            };
            map.insert(field.name.to_string(), value);
        });
        Value::Object(map)
    }

    fn shape(&mut self, shape: &Shape, depth: usize) -> Value {
        match shape {
            Shape::Bool => (self.byte() & 1 == 1).into(),
            Shape::Int32 | Shape::Int64 | Shape::Uint32 | Shape::Uint64 => {
                let number = self.integer();
                match shape {
                    Shape::Int32 => (number as i32).into(),
                    Shape::Uint32 => (number as u32).into(),
                    Shape::Uint64 => (number as u64).into(),
                    _ => number.into(),
                }
            }
            Shape::Float64 => {
                Number::from_f64(f64::from(self.byte()) / 8.0).map_or(Value::Null, Value::Number)
            }
            Shape::String => self.text().into(),
            Shape::Bytes => ["", "YQ==", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="][self.below(3)].into(),
            Shape::Time => {
                ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"][self.below(3)].into()
            }
            Shape::MicroTime => {
                ["2020-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999999Z"][self.below(2)].into()
            }
            Shape::Duration => {
                ["1s", "1h30m0s", "-1s", "0s", "2562047h47m16.854775807s"][self.below(5)].into()
            }
            Shape::Quantity => {
                ["1", "100m", "1Gi", "-1", "0", "1e18", "9223372036854775808", "1n", "8Ei", "0.1"]
                    [self.below(10)]
                .into()
            }
            Shape::IntOrString => {
                [json!(1), json!("50%"), json!("http"), json!(-1), json!("101%"), json!(65536)][self.below(6)]
                    .clone()
            }
            Shape::RawExtension | Shape::Json | Shape::Any => self.any(depth),
            Shape::FieldsV1 => {
                json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "k:{\"name\":\"a\"}": {}})
            }
            Shape::SchemaOrBool(ty)
            | Shape::SchemaOrArray(ty)
            | Shape::SchemaOrStrings(ty)
            | Shape::Struct(ty) => self.structure(ty, depth),
            Shape::List(list) => {
                let len = [1, 0, 2, 3][self.below(4)];
                (0..len).map_while(|_| self.item(&list.items, depth)).collect()
            }
            Shape::Map(map) => {
                let len = [1, 0, 2][self.below(3)];
                let entries = (0..len).map_while(|_| Some((self.text(), self.item(&map.values, depth)?)));
                Value::Object(entries.collect())
            }
        }
    }

    fn item(&mut self, shape: &Shape, depth: usize) -> Option<Value> {
        if self.left == 0 || depth >= DEPTH {
            return None;
        }
        self.left -= 1;
        Some(self.shape(shape, depth + 1))
    }

    /// Any JSON.
    pub fn any(&mut self, depth: usize) -> Value {
        let kinds = if depth >= DEPTH || self.left == 0 { 5 } else { 7 };
        self.left = self.left.saturating_sub(1);
        match self.below(kinds) {
            0 => self.text().into(),
            1 => Value::Null,
            2 => (self.byte() & 1 == 1).into(),
            3 => self.integer().into(),
            4 => json!(1.5),
            5 => (0..self.below(3)).map(|_| self.any(depth + 1)).collect(),
            _ => Value::Object((0..self.below(4)).map(|_| (self.text(), self.any(depth + 1))).collect()),
        }
    }
}
