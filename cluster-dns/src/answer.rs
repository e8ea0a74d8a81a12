//! From a query to its response: a pure function of the zone.

use crate::zone::{Records, Zone};
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// How long clients may remember an answer, in seconds; what CoreDNS's kubernetes plugin is set to by kubeadm.
const TTL: u32 = 30;
/// The version of the Kubernetes DNS specification that the zone follows.
const SPECIFICATION: &str = "1.1.0";

/// What to do with a query.
#[derive(Debug)]
pub enum Answer {
    /// Send this.
    Done(Message),
    /// The name is nobody's here: ask the outside.
    Forward,
    /// An alias that leaves the zone: resolve this name outside and add its records.
    Chase(Message, Name),
}

/// The zone's name and the networks whose reverse names are the cluster's own.
pub struct Authority {
    pub domain: Name,
    pub networks: Vec<ipnet::IpNet>,
}

/// Answers `query`. Malformed queries get FORMERR or NOTIMP, as the DNS standards ask.
pub fn answer(zone: &Zone, authority: &Authority, request: &Message) -> Answer {
    if request.metadata.op_code != OpCode::Query {
        return Answer::Done(reply(request, ResponseCode::NotImp));
    }
    let [query] = &request.queries[..] else { return Answer::Done(reply(request, ResponseCode::FormErr)) };
    if query.query_class() != DNSClass::IN {
        return Answer::Forward;
    }
    let name = query.name().to_lowercase();
    if let Some(address) = reverse_address(&name) {
        return reverse(zone, authority, request, query, address);
    }
    if !authority.domain.zone_of(&name) {
        return Answer::Forward;
    }
    let count = usize::from(name.num_labels().saturating_sub(authority.domain.num_labels()));
    let labels: Vec<String> =
        name.iter().take(count).map(|label| String::from_utf8_lossy(label).into_owned()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    if labels == ["dns-version"] {
        return Answer::Done(version(authority, request, query));
    }
    match zone.look_up(&labels) {
        None => Answer::Done(negative(authority, request, ResponseCode::NXDomain)),
        Some(records) => positive(authority, request, query, records),
    }
}

/// An empty authoritative response with `code`.
pub fn reply(request: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.authoritative = true;
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.queries = request.queries.clone();
    response
}

fn positive(authority: &Authority, request: &Message, query: &Query, records: Records) -> Answer {
    let mut response = reply(request, ResponseCode::NoError);
    let name = query.name();
    if let Some(alias) = &records.alias {
        let Ok(target) = Name::from_ascii(format!("{alias}.")) else {
            return Answer::Done(reply(request, ResponseCode::ServFail));
        };
        response.answers.push(Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target.clone()))));
        return match query.query_type() {
            RecordType::A | RecordType::AAAA => Answer::Chase(response, target),
            _ => Answer::Done(response),
        };
    }
    match query.query_type() {
        kind @ (RecordType::A | RecordType::AAAA) => {
            response.answers.extend(address_records(name, &records.addresses, kind));
        }
        RecordType::SRV => {
            let share = 100 / u16::try_from(records.services.len().max(1)).unwrap_or(100).min(100);
            for target in &records.services {
                let Ok(host) = below(authority, &target.host) else { continue };
                let data = SRV::new(0, share, target.port, host.clone());
                response.answers.push(Record::from_rdata(name.clone(), TTL, RData::SRV(data)));
                for kind in [RecordType::A, RecordType::AAAA] {
                    response.additionals.extend(address_records(&host, &target.addresses, kind));
                }
            }
        }
        RecordType::SOA if query.name().to_lowercase() == authority.domain => {
            response.answers.push(start_of_authority(authority));
        }
        _ => {}
    }
    if response.answers.is_empty() {
        return Answer::Done(negative(authority, request, ResponseCode::NoError));
    }
    Answer::Done(response)
}

fn reverse(zone: &Zone, authority: &Authority, request: &Message, query: &Query, address: IpAddr) -> Answer {
    let mut response = reply(request, ResponseCode::NoError);
    if query.query_type() == RecordType::PTR {
        for relative in zone.names(address) {
            if let Ok(target) = below(authority, relative) {
                response.answers.push(Record::from_rdata(query.name().clone(), TTL, RData::PTR(PTR(target))));
            }
        }
    }
    if !response.answers.is_empty() {
        return Answer::Done(response);
    }
    match authority.networks.iter().any(|network| network.contains(&address)) {
        true => Answer::Done(negative(authority, request, ResponseCode::NXDomain)),
        false => Answer::Forward,
    }
}

fn version(authority: &Authority, request: &Message, query: &Query) -> Message {
    if query.query_type() != RecordType::TXT {
        return negative(authority, request, ResponseCode::NoError);
    }
    let mut response = reply(request, ResponseCode::NoError);
    let data = RData::TXT(TXT::new(vec![SPECIFICATION.to_string()]));
    response.answers.push(Record::from_rdata(query.name().clone(), TTL, data));
    response
}

fn negative(authority: &Authority, request: &Message, code: ResponseCode) -> Message {
    let mut response = reply(request, code);
    response.authorities.push(start_of_authority(authority));
    response
}

fn start_of_authority(authority: &Authority) -> Record {
    let domain = &authority.domain;
    let named =
        |label: &str| Name::from_ascii(label).and_then(|name| name.append_domain(domain)).unwrap_or_default();
    let data = SOA::new(named("ns.dns"), named("hostmaster"), 1, 7200, 1800, 86400, TTL);
    Record::from_rdata(domain.clone(), TTL, RData::SOA(data))
}

fn below(authority: &Authority, relative: &str) -> Result<Name, hickory_proto::ProtoError> {
    Name::from_ascii(relative)?.append_domain(&authority.domain)
}

fn address_records<'a>(
    name: &'a Name,
    addresses: &'a [IpAddr],
    kind: RecordType,
) -> impl Iterator<Item = Record> + 'a {
    addresses.iter().filter_map(move |address| {
        let data = match (address, kind) {
            (IpAddr::V4(address), RecordType::A) => RData::A(A(*address)),
            (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(AAAA(*address)),
            _ => return None,
        };
        Some(Record::from_rdata(name.clone(), TTL, data))
    })
}

/// The address that a name below in-addr.arpa or ip6.arpa spells in full.
fn reverse_address(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::tests::example;

    fn ask(name: &str, kind: RecordType) -> Answer {
        let authority = Authority {
            domain: Name::from_ascii("cluster.local.").unwrap(),
            networks: vec!["10.96.0.0/12".parse().unwrap()],
        };
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        answer(&example(), &authority, &request)
    }

    fn done(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
        match ask(name, kind) {
            Answer::Done(message) => {
                let bytes = message.to_vec().unwrap();
                let read = Message::from_vec(&bytes).unwrap();
                assert_eq!(
                    read.answers.is_empty(),
                    !read.authorities.is_empty(),
                    "negative answers carry the SOA"
                );
                (
                    read.metadata.response_code,
                    read.answers.iter().map(|record| record.data.to_string()).collect(),
                )
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn answers_follow_the_specification() {
        use ResponseCode::{NXDomain, NoError};
        for (name, kind, code, want) in [
            ("WEB.shop.svc.cluster.local.", RecordType::A, NoError, vec!["10.96.0.5"]),
            ("web.shop.svc.cluster.local.", RecordType::AAAA, NoError, vec![]),
            ("nope.shop.svc.cluster.local.", RecordType::A, NXDomain, vec![]),
            (
                "_http._tcp.web.shop.svc.cluster.local.",
                RecordType::SRV,
                NoError,
                vec!["0 100 80 web.shop.svc.cluster.local."],
            ),
            ("5.0.96.10.in-addr.arpa.", RecordType::PTR, NoError, vec!["web.shop.svc.cluster.local."]),
            ("6.0.96.10.in-addr.arpa.", RecordType::PTR, NXDomain, vec![]),
            ("7.0.244.10.in-addr.arpa.", RecordType::PTR, NoError, vec!["db-0.db.shop.svc.cluster.local."]),
            ("dns-version.cluster.local.", RecordType::TXT, NoError, vec!["1.1.0"]),
            ("cluster.local.", RecordType::A, NoError, vec![]),
        ] {
            let (got, answers) = done(name, kind);
            assert_eq!((got, answers), (code, want.into_iter().map(String::from).collect()), "{name} {kind}");
        }
    }

    #[test]
    fn the_outside_is_asked_elsewhere() {
        assert!(matches!(ask("example.org.", RecordType::A), Answer::Forward));
        assert!(matches!(ask("1.2.0.192.in-addr.arpa.", RecordType::PTR), Answer::Forward));
        assert!(
            matches!(ask("mail.shop.svc.cluster.local.", RecordType::A), Answer::Chase(_, name) if name.to_string() == "mail.example.org.")
        );
    }

    #[test]
    fn odd_requests_get_their_error() {
        let authority = Authority { domain: Name::from_ascii("cluster.local.").unwrap(), networks: vec![] };
        let Answer::Done(message) = answer(&example(), &authority, &Message::query()) else { panic!() };
        assert_eq!(message.metadata.response_code, ResponseCode::FormErr);
    }
}
