//! Named formats of texts: Kubernetes' `format` library.

use proto::content;

use super::{Result, opaque, text, url};
use crate::env::Library;
use crate::types::Type;
use crate::value::{Opaque, Timestamp, Value, downcast};

/// A format.
#[derive(Debug)]
pub(crate) struct Format {
    function: &'static str,
    name: &'static str,
    /// The length of the pattern that checking costs as much as.
    pub(crate) pattern_size: u64,
    check: fn(&str) -> Vec<String>,
}

const FORMATS: &[Format] = &[
    Format { function: "dns1123Label", name: "DNS1123Label", pattern_size: 30, check: dns1123_label },
    Format {
        function: "dns1123Subdomain",
        name: "DNS1123Subdomain",
        pattern_size: 60,
        check: content::is_dns1123_subdomain,
    },
    Format {
        function: "dns1035Label",
        name: "DNS1035Label",
        pattern_size: 30,
        check: content::is_dns1035_label,
    },
    Format {
        function: "qualifiedName",
        name: "QualifiedName",
        pattern_size: 60,
        check: content::is_qualified_name,
    },
    Format {
        function: "dns1123LabelPrefix",
        name: "DNS1123LabelPrefix",
        pattern_size: 30,
        check: |text| dns1123_label(&content::masked_trailing_dash(text)),
    },
    Format {
        function: "dns1123SubdomainPrefix",
        name: "DNS1123SubdomainPrefix",
        pattern_size: 60,
        check: |text| content::is_dns1123_subdomain(&content::masked_trailing_dash(text)),
    },
    Format {
        function: "dns1035LabelPrefix",
        name: "DNS1035LabelPrefix",
        pattern_size: 30,
        check: |text| content::is_dns1035_label(&content::masked_trailing_dash(text)),
    },
    Format { function: "labelValue", name: "LabelValue", pattern_size: 40, check: content::is_label_value },
    Format {
        function: "uri",
        name: "URI",
        pattern_size: 1103,
        check: |text| url::parse_request_uri(text).err().into_iter().collect(),
    },
    Format {
        function: "uuid",
        name: "uuid",
        pattern_size: 70,
        check: |text| refused(is_uuid(text), "does not match the UUID format"),
    },
    Format {
        function: "byte",
        name: "byte",
        pattern_size: 84,
        check: |text| refused(is_base64(text), "invalid base64"),
    },
    Format {
        function: "date",
        name: "date",
        pattern_size: 71,
        check: |text| refused(Timestamp::parse_date(text).is_some(), "invalid date"),
    },
    Format {
        function: "datetime",
        name: "datetime",
        pattern_size: 71,
        check: |text| {
            let valid =
                !text.is_empty() && Timestamp::parse_openapi(text).is_some() && text.contains(['T', 't']);
            refused(valid, "invalid datetime")
        },
    },
];

fn refused(valid: bool, message: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![message.to_owned()] }
}

/// Names of objects that are labels have one more message, for dots.
fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = content::is_dns1123_label(text);
    if text.contains('.') && !errors.is_empty() && content::is_dns1123_subdomain(text).is_empty() {
        errors.retain(|error| error.contains("dots"));
        if errors.is_empty() {
            errors.push("must not contain dots".to_owned());
        }
    }
    errors
}

fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (position, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if position > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((group, after)) = rest.split_at_checked(length) else { return false };
        if !group.bytes().all(|c| c.is_ascii_hexdigit()) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    let padding = text.len() - text.trim_end_matches('=').len();
    let inner = &text[..text.len() - padding];
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && padding <= 2
        && inner.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}

/// A format as a value.
#[derive(Debug)]
pub(crate) struct Named(&'static Format);

impl Opaque for Named {
    fn ty(&self) -> Type {
        Type::object("kubernetes.NamedFormat")
    }

    fn equals(&self, other: &dyn Opaque) -> Option<bool> {
        downcast::<Named>(other).map(|other| self.0.name == other.0.name)
    }
}

/// What checking a value of this format costs as much as, if the value is a format.
pub(crate) fn pattern_size(value: &Value<'_>) -> Option<u64> {
    value.downcast::<Named>().map(|named| named.0.pattern_size)
}

fn named<'a>(index: usize) -> Result<'a> {
    Ok(Value::opaque(Named(&FORMATS[index])))
}

pub(super) fn install(library: &mut Library) {
    let ty = Type::object("kubernetes.NamedFormat");
    library.named_type("kubernetes.NamedFormat", ty.clone());
    let messages = Type::optional(Type::list(Type::String));
    library.member("validate", "format-validate", &[ty.clone(), Type::String], messages, |args| {
        let errors = (opaque::<Named>(args, 0)?.0.check)(text(args, 1)?);
        Ok(if errors.is_empty() { Value::Optional(None) } else { Value::some(Value::strings(errors)) })
    });
    library.global("format.named", "format-named", &[Type::String], Type::optional(ty.clone()), |args| {
        let name = text(args, 0)?;
        match FORMATS.iter().position(|format| format.function == name) {
            Some(index) => Ok(Value::some(named(index)?)),
            None => Ok(Value::Optional(None)),
        }
    });
    macro_rules! constants {
        ($($function:literal)*) => {$(
            library.global(concat!("format.", $function), concat!("format.", $function), &[], ty.clone(), |_| {
                named(FORMATS.iter().position(|format| format.function == $function).unwrap_or(0))
            });
        )*};
    }
    constants!("dns1123Label" "dns1123Subdomain" "dns1035Label" "qualifiedName" "dns1123LabelPrefix"
        "dns1123SubdomainPrefix" "dns1035LabelPrefix" "labelValue" "uri" "uuid" "byte" "date" "datetime");
}
