//! Small languages: selectors, quantities, durations, times, names.

use jiff::Timestamp;
use proto::cron::Schedule;
use proto::quantity::Quantity;
use proto::time::{Duration, MicroTime, Time};
use proto::{content, fields, labels};
use serde_json::json;

use crate::Target;

pub(super) const SELECTORS: Target = Target {
    name: "selectors",
    seeds: &[
        b"a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2",
        b"metadata.name=a,spec.nodeName!=b\\,c,d==e",
        b"example.com/a in (b, c ,d), x",
        b"in in (in),notin notin (notin)",
        b"==inm^a\\=,=a!t,",
    ],
    run: |data| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        if let Ok(selector) = labels::Selector::parse(text) {
            let printed = selector.to_string();
            let again = labels::Selector::parse(&printed).expect("what is printed parses");
            assert_eq!(again.to_string(), printed);
            selector.matches(&json!({"a": "b", "e": "f", "l": "5"}));
        }
        if let Ok(selector) = fields::Selector::parse(text) {
            let printed = selector.to_string();
            let again = fields::Selector::parse(&printed).expect("what is printed parses");
            // Terms are ordered as they are spelled, and `==` is printed as `=`.
            let terms = |s: &fields::Selector| {
                let mut all: Vec<_> =
                    s.requirements.iter().map(|r| (r.field.clone(), r.equal, r.value.clone())).collect();
                all.sort();
                all
            };
            assert_eq!(terms(&again), terms(&selector));
        }
    },
};

pub(super) const SCALARS: Target = Target {
    name: "scalars",
    seeds: &[
        b"100m",
        b"1.5Gi",
        b"-1e3",
        b"12E",
        b"0.000000000001",
        b"1h30m1.5s",
        b"-2562047h47m16.854775808s",
        b"100us",
        b"2020-02-29T23:59:60.123456789+14:00",
        b"0001-01-01T00:00:00Z",
        b"10.0.0.1/8",
        b"fd00::1%eth0",
        b"example.com/a_b.c",
        b"9223372036854775808Ki",
        b"00012.3400n",
        b"*/5 0-23/2 1,15 jan-dec 1-5",
        b"TZ=Europe/Berlin 30 2 29 2 *",
        b"@every 1h30m",
        b"100100000000000010000000000000000000.85477m",
    ],
    run: |data| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        if let Ok(mut quantity) = Quantity::parse(text) {
            let printed = quantity.to_string();
            let again = Quantity::parse(&printed).expect("what is printed parses");
            assert_eq!(again.to_string(), printed);
            assert_eq!(again, quantity, "{text} prints as {printed}");
            let _ = (quantity.value(), quantity.milli_value(), quantity.to_f64(), quantity.scaled_value(-9));
            let other = quantity.clone();
            quantity.add(&other);
            quantity.mul(i64::MAX);
            quantity.sub(&other);
            quantity.neg();
            quantity.round_up(0);
            let _ = quantity.to_string();
        }
        if let Ok(duration) = text.parse::<Duration>() {
            let printed = duration.to_string();
            assert_eq!(printed.parse::<Duration>().expect("what is printed parses"), duration);
        }
        if let Ok(time) = text.parse::<Time>() {
            let printed = time.to_string();
            assert_eq!(printed.parse::<Time>().expect("what is printed parses"), time);
        }
        if let Ok(time) = text.parse::<MicroTime>() {
            let printed = time.to_string();
            assert_eq!(printed.parse::<MicroTime>().expect("what is printed parses"), time);
        }
        if let Ok(schedule) = Schedule::parse(text) {
            let mut at = Timestamp::UNIX_EPOCH;
            for _ in 0..3 {
                let Some(next) = schedule.next(at) else { break };
                assert!(next > at, "{text}: {next} comes after {at}");
                at = next;
            }
        }
        let _ = content::is_qualified_name(text);
        let _ = content::is_dns1123_subdomain(text);
        let _ = content::is_label_value(text);
        let _ = content::masked_trailing_dash(text);
        if let Some(address) = content::parse_ip_sloppy(text) {
            let _ = content::canonical_ip(address);
        }
        let _ = content::parse_cidr_sloppy(text);
        let _ = proto::field::quote(text);
    },
};
