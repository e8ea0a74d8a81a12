//! Which form an answer takes, from the request's Accept header, and which form a body has.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use proto::status::{Status, reason};

use crate::server::query::Query;

/// Media types in upstream's order.
pub const MEDIA_TYPES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What watches are sent as.
pub const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// What custom resources have.
pub const CUSTOM_MEDIA_TYPES: [&str; 2] = ["application/json", "application/yaml"];

/// An encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Protobuf in its envelope.
    Protobuf,
}

impl Format {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    fn of(media_type: &str) -> Option<Self> {
        [Format::Json, Format::Yaml, Format::Protobuf].into_iter().find(|f| f.media_type() == media_type)
    }
}

/// Another kind that answers are turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// None.
    None,
    /// A Table, of meta.k8s.io in this version.
    Table(&'static str),
    /// PartialObjectMetadata or a list of it; and whether the list was asked for.
    Metadata(&'static str, bool),
}

/// What an endpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Custom resources have no protobuf.
    pub custom: bool,
    /// Watches.
    pub streams: bool,
    /// Tables.
    pub tables: bool,
    /// Metadata alone.
    pub metadata: bool,
}

impl Offer {
    fn has(self, transform: Transform) -> bool {
        match transform {
            Transform::None => true,
            Transform::Table(_) => self.tables,
            Transform::Metadata(..) => self.metadata,
        }
    }
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Encoding.
    pub format: Format,
    /// For people.
    pub pretty: bool,
    /// Other kind.
    pub transform: Transform,
}

impl Output {
    /// Plain JSON.
    pub const JSON: Output = Output { format: Format::Json, pretty: false, transform: Transform::None };

    /// The form of a failure: what the request accepts without any transformation, or JSON.
    pub fn of_failure(headers: &HeaderMap) -> Self {
        if matches!(accepted(headers), "" | "*/*" | "application/json") {
            return Output::JSON;
        }
        let plain = |clause: &Clause<'_>| {
            let format =
                MEDIA_TYPES.iter().find(|media| clause.takes(media)).and_then(|media| Format::of(media))?;
            (clause.transform(format)? == Transform::None).then_some(format)
        };
        let format = parse_accept(accepted(headers)).iter().find_map(plain).unwrap_or(Format::Json);
        Output { format, ..Output::JSON }
    }

    /// What the request accepts of what the endpoint has.
    pub fn negotiate(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Self, Status> {
        if !offer.custom {
            route(accepted(headers), offer.streams)?;
        }
        let supported: &[&'static str] = if offer.custom { &CUSTOM_MEDIA_TYPES } else { &MEDIA_TYPES };
        let pretty = is_pretty(headers, query);
        let accept = accepted(headers);
        if accept.is_empty() {
            return Ok(Output { pretty, ..Output::JSON });
        }
        for clause in parse_accept(accept) {
            for media in supported {
                if !clause.takes(media) {
                    continue;
                }
                let Some(format) = Format::of(media) else { continue };
                if let Some(transform) = clause.transform(format).filter(|t| offer.has(*t)) {
                    return Ok(Output { format, pretty: pretty || clause.get("pretty") == "1", transform });
                }
            }
        }
        Err(Status::not_acceptable(supported))
    }
}

fn accepted(headers: &HeaderMap) -> &str {
    headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// What upstream's router demands of built-in kinds before anything is negotiated: one of their media types by its full name.
fn route(accept: &str, streams: bool) -> Result<(), Status> {
    let named = |clause: &str| {
        let media = clause.split(';').next().unwrap_or_default().trim();
        media == "*/*" || MEDIA_TYPES.contains(&media)
    };
    if accept.is_empty() || accept.split(',').any(named) {
        return Ok(());
    }
    let mut available = MEDIA_TYPES.to_vec();
    if streams {
        available.extend(STREAMS);
    }
    let text = format!("406: Not Acceptable\n\nAvailable representations: {}", available.join(", "));
    Err(Status::failure(406, reason::NOT_ACCEPTABLE, text).with_details(Default::default()))
}

/// One clause of an Accept header.
struct Clause<'a> {
    kind: &'a str,
    subkind: &'a str,
    quality: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    fn takes(&self, media: &str) -> bool {
        let (kind, subkind) = media.split_once('/').unwrap_or((media, ""));
        let same = self.kind == kind && (self.subkind == subkind || self.subkind == "*");
        same || self.kind == "*" && self.subkind == "*"
    }

    fn get(&self, name: &str) -> &str {
        self.parameters.iter().find(|(k, _)| *k == name).map_or("", |(_, v)| v)
    }

    /// The transformation asked for; `None` if there is no such form.
    fn transform(&self, format: Format) -> Option<Transform> {
        let stream = self.get("stream");
        if !stream.is_empty() && stream != "watch" || !self.get("sv").is_empty() {
            return None;
        }
        let (kind, group, version) = (self.get("as"), self.get("g"), self.get("v"));
        if kind.is_empty() && group.is_empty() && version.is_empty() {
            return Some(Transform::None);
        }
        let version = match (group, version) {
            ("meta.k8s.io", "v1") => "v1",
            ("meta.k8s.io", "v1beta1") => "v1beta1",
            _ => return None,
        };
        match kind {
            "Table" if format != Format::Protobuf => Some(Transform::Table(version)),
            "PartialObjectMetadata" => Some(Transform::Metadata(version, false)),
            "PartialObjectMetadataList" => Some(Transform::Metadata(version, true)),
            _ => None,
        }
    }
}

/// The clauses, best first.
fn parse_accept(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> = header
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next()?;
            let (kind, subkind) =
                media.split_once('/').unwrap_or((media, if media == "*" { "*" } else { "" }));
            let parameters: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
            let quality = parameters.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok());
            Some(Clause { kind, subkind, quality: quality.unwrap_or(1.0), parameters })
        })
        .collect();
    clauses.sort_by(|a, b| {
        let wild = |c: &Clause| (c.kind == "*", c.subkind == "*");
        b.quality.total_cmp(&a.quality).then_with(|| wild(a).cmp(&wild(b)))
    });
    clauses
}

fn is_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(value) = query.non_empty("pretty") {
        return matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| agent.starts_with(known))
}

/// The form of a request's body.
pub fn input(headers: &HeaderMap, custom: bool) -> Result<Format, Status> {
    let supported: &[&'static str] = if custom { &CUSTOM_MEDIA_TYPES } else { &MEDIA_TYPES };
    let header = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = header.split(';').next().unwrap_or_default().trim();
    if media.is_empty() {
        return Ok(Format::Json);
    }
    let known = supported.iter().find(|m| m.eq_ignore_ascii_case(media));
    known.and_then(|m| Format::of(m)).ok_or_else(|| Status::unsupported_media_type(supported))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { custom: false, streams: true, tables: true, metadata: true };

    fn accept(value: &str) -> Result<Output, Status> {
        accept_of(value, ALL)
    }

    fn accept_of(value: &str, offer: Offer) -> Result<Output, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value.parse().expect("header"));
        Output::negotiate(&headers, &Query::default(), offer)
    }

    #[test]
    fn endpoints_without_tables_fall_back_or_refuse() {
        let offer = Offer { tables: false, ..ALL };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(
            accept_of(table, offer).expect_err("refused").message,
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        let either = accept_of(&format!("{table},application/json"), offer).expect("ok");
        assert_eq!(either.transform, Transform::None);
        let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        assert_eq!(accept_of(metadata, offer).expect("ok").transform, Transform::Metadata("v1", false));
        assert_eq!(accept_of(metadata, Offer { metadata: false, ..offer }).expect_err("refused").code, 406);
    }

    #[test]
    fn kubectl_and_client_go_are_understood() {
        let table = accept(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        );
        assert_eq!(table.expect("ok").transform, Transform::Table("v1"));
        let protobuf = accept("application/vnd.kubernetes.protobuf,application/json").expect("ok");
        assert_eq!(protobuf.format, Format::Protobuf);
        let metadata =
            accept("application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
        assert_eq!(metadata.expect("ok").transform, Transform::Metadata("v1", true));
        assert_eq!(accept("*/*").expect("ok").format, Format::Json);
        assert_eq!(
            accept("application/yaml;q=0.9, application/json;q=0.1").expect("ok").format,
            Format::Yaml
        );
        assert_eq!(
            accept("text/html").expect_err("refused").message,
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
        assert_eq!(accept("application/*").expect_err("refused").code, 406);
        assert_eq!(accept("application/json;as=Nonsense;v=v1;g=meta.k8s.io").expect_err("refused").code, 406);
    }
}
