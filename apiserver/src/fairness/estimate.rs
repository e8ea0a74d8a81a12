//! How many seats a request takes.

use std::time::Duration;

use super::Digest;
use super::queues::Work;
use super::watches::Watches;

/// Number and mean size, in bytes, of the objects of a (group, resource).
pub type Stats = Box<dyn Fn(&str, &str) -> Option<(usize, usize)> + Send + Sync>;

const MOST_OF_LIST: usize = 100;
const MOST_OF_WRITE: usize = 10;
const BYTES_PER_SEAT: usize = 100_000;
/// A list from the cache is streamed: it never needs more memory at once.
const STREAMED: usize = 1_000_000;
const WATCHES_PER_SEAT: usize = 10;
/// Time in which the watchers of a seat are told of a change. Upstream's is 5 ms, ten times this one, which is still well above
/// what they take here: a thousand share what goes out and need some two milliseconds of processor for a change (`make bench`, the
/// family `watches`). With upstream's time a user of the default level made some two hundred changes a second, and the machine idled.
const EVENT: Duration = Duration::from_micros(500);
const ONE: Work = Work { seats: 1, after: 0, extra: Duration::ZERO };

/// The work of a request in a level where a request may have at most so many seats (0: any number).
pub(super) fn work(stats: &Stats, watches: &Watches, most: usize, request: Digest) -> Work {
    let within = |limit: usize| if most == 0 { limit } else { most.min(limit) };
    match request.info.verb.as_str() {
        "list" | "watch" => list(stats, within(MOST_OF_LIST), request),
        "create" | "update" | "patch" | "delete" => write(watches, within(MOST_OF_WRITE), request),
        _ => ONE,
    }
}

fn list(stats: &Stats, most: usize, request: Digest) -> Work {
    let Digest { info, query, .. } = request;
    let version = query.get("resourceVersion").unwrap_or_default();
    let is_watch = info.verb == "watch";
    let initial = query.flag("sendInitialEvents").unwrap_or(false) || matches!(version, "" | "0");
    if !info.name.is_empty() || is_watch && !initial {
        return ONE;
    }
    let Some((count, size)) = stats(&info.group, &info.resource) else { return ONE };
    let limit = query.get("limit").and_then(|limit| limit.parse::<usize>().ok()).filter(|limit| *limit > 0);
    let limited = limit.map_or(count, |limit| limit.min(count));
    let is_exact =
        query.get("resourceVersionMatch") == Some("Exact") || query.non_empty("continue").is_some();
    let selects = query.non_empty("fieldSelector").is_some() || query.non_empty("labelSelector").is_some();
    let bytes = if is_watch || !is_exact {
        (limited * size).min(STREAMED)
    } else if selects {
        limited.max(count / 2) * size
    } else {
        limited * size
    };
    Work { seats: bytes.div_ceil(BYTES_PER_SEAT).clamp(1, most.max(1)), ..ONE }
}

fn write(watches: &Watches, most: usize, request: Digest) -> Work {
    let info = request.info;
    if info.resource == "serviceaccounts" && info.subresource == "token" {
        return ONE;
    }
    let interested = watches.interested(info);
    if interested < WATCHES_PER_SEAT {
        return ONE;
    }
    let seats = interested.div_ceil(WATCHES_PER_SEAT);
    let after = seats.min(most.max(1));
    // Fewer seats for longer are the same work.
    Work { seats: 1, after, extra: EVENT.mul_f64(seats as f64 / after as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserInfo;
    use crate::server::query::Query;
    use crate::server::request_info::RequestInfo;
    use http::Method;
    use std::sync::Arc;

    #[test]
    fn seats_follow_size_and_watchers() {
        let stats: Stats = Box::new(|_, resource| (resource == "pods").then_some((1000, 500)));
        let watches = Arc::<Watches>::default();
        let user = Arc::new(UserInfo::anonymous());
        let info = |method: Method, target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let query = Query::parse(Some(query));
            (RequestInfo::new(&method, path, &query).expect("a path"), query)
        };
        let seats = |method: Method, target: &str, most: usize| {
            let (info, query) = info(method, target);
            let work = work(&stats, &watches, most, Digest { info: &info, query: &query, user: &user });
            (work.seats, work.after, work.extra.as_micros())
        };
        let cases = [
            ("/api/v1/pods/x", 0, 1),
            ("/api/v1/pods", 0, 5),
            ("/api/v1/pods", 3, 3),
            ("/api/v1/pods?limit=100", 0, 1),
            ("/api/v1/pods?limit=300&resourceVersion=5&resourceVersionMatch=Exact&labelSelector=a", 0, 3),
            ("/api/v1/pods?fieldSelector=metadata.name%3Dx", 0, 1),
            ("/api/v1/pods?watch=1", 0, 5),
            ("/api/v1/pods?watch=1&resourceVersion=7", 0, 1),
            ("/apis/x.io/v1/others", 0, 1),
        ];
        for (target, most, want) in cases {
            assert_eq!(seats(Method::GET, target, most), (want, 0, 0), "{target}");
        }
        assert_eq!(seats(Method::PUT, "/api/v1/namespaces/a/pods/x", 0), (1, 0, 0));
        let (all, query) = info(Method::GET, "/api/v1/pods?watch=1");
        let _watching: Vec<_> = (0..200).map(|_| Watches::add(&watches, &all, &query)).collect();
        assert_eq!(seats(Method::PUT, "/api/v1/namespaces/a/pods/x", 0), (1, 10, 1000));
        assert_eq!(seats(Method::PUT, "/api/v1/namespaces/a/pods/x", 5), (1, 5, 2000));
    }
}
