//! What the debugging paths show: levels, queues and requests, as tables.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::Fairness;
use super::queues::{Ticket, Work};

const ROOT: &str = "/debug/api_priority_and_fairness/";
/// Columns are at least this wide, as Go's tabwriter is set up.
const NARROWEST: usize = 8;

/// The answer to a path.
pub(super) fn answer(fairness: &Fairness, path: &str, query: &str) -> Option<String> {
    match path.strip_prefix(ROOT)? {
        "dump_priority_levels" => Some(levels(fairness)),
        "dump_queues" => Some(queues(fairness)),
        "dump_requests" => Some(requests(fairness, query.contains("includeRequestDetails="))),
        _ => None,
    }
}

fn table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let headers = headers.iter().map(|header| (*header).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(headers).chain(rows).collect();
    let columns = rows.first().map_or(0, Vec::len);
    // A comma ends each cell but the last.
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count() + 2).max();
        widest.unwrap_or_default().max(NARROWEST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            if at + 1 == row.len() {
                text.push_str(cell);
            } else {
                let cell = format!("{cell},");
                text.push_str(&format!("{cell:<width$}", width = widths[at]));
            }
        }
        text.push('\n');
    }
    text
}

fn levels(fairness: &Fairness) -> String {
    let config = fairness.config.read().clone();
    let rows = config.levels.values().map(|level| {
        let is_quiescing = level.state.lock().is_quiescing;
        let set = level.set.lock();
        let active = set.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
        vec![
            level.name.clone(),
            active.to_string(),
            set.is_idle().to_string(),
            is_quiescing.to_string(),
            set.waiting.to_string(),
            set.executing.to_string(),
            set.totals.dispatched.to_string(),
            set.totals.rejected.to_string(),
            // Upstream counts these as cancelled.
            "0".to_owned(),
            set.totals.cancelled.to_string(),
        ]
    });
    let headers = [
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ];
    table(&headers, rows.collect())
}

fn queues(fairness: &Fairness) -> String {
    let config = fairness.config.read().clone();
    let mut rows = Vec::new();
    for level in config.levels.values() {
        for (at, queue) in level.set.lock().queues.iter().enumerate() {
            let initial: usize = queue.waiting.iter().map(|queued| queued.work.seats).sum();
            rows.push(vec![
                level.name.clone(),
                at.to_string(),
                queue.waiting.len().to_string(),
                queue.executing.to_string(),
                queue.seats.to_string(),
                format!("{:.8}ss", queue.next),
                initial.to_string(),
                queue.wanted.to_string(),
                format!("{:.8}ss", queue.work),
            ]);
        }
    }
    let headers = [
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ];
    table(&headers, rows)
}

fn requests(fairness: &Fairness, with_user: bool) -> String {
    let config = fairness.config.read().clone();
    let begin = SystemTime::now() - fairness.start.elapsed();
    let time = |seconds: Option<f64>| match seconds {
        // Go's zero time.
        None => "0001-01-01T00:00:00Z".to_owned(),
        Some(seconds) => {
            let at = begin + Duration::from_secs_f64(seconds.max(0.0));
            Timestamp::try_from(at).map(|at| at.to_string()).unwrap_or_default()
        }
    };
    let mut rows = Vec::new();
    let mut row =
        |level: &str, ticket: &Ticket, place: (i64, i64), work: &Work, times: (f64, Option<f64>)| {
            let mut row = vec![
                level.to_owned(),
                ticket.schema.name.clone(),
                place.0.to_string(),
                place.1.to_string(),
                ticket.flow.as_str().to_owned(),
                time(Some(times.0)),
                work.seats.to_string(),
                work.after.to_string(),
                proto::time::Duration::from(work.extra).to_string(),
                time(times.1),
            ];
            if with_user {
                row.push(match &ticket.flow {
                    super::queues::Flow::User(user) => user.name.clone(),
                    _ => String::new(),
                });
            }
            rows.push(row);
        };
    for level in config.levels.values() {
        let set = level.set.lock();
        for (at, queue) in set.queues.iter().enumerate() {
            for (place, queued) in queue.waiting.iter().enumerate() {
                let place = (at as i64, place as i64);
                row(&level.name, &queued.ticket, place, &queued.work, (queued.arrived, None));
            }
        }
        for running in set.running() {
            let at = running.queue.map_or(-1, |at| at as i64);
            let times = (running.arrived, Some(running.started));
            row(&level.name, &running.ticket, (at, -1), &running.work, times);
        }
    }
    let mut headers = vec![
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ];
    if with_user {
        headers.push("UserName");
    }
    table(&headers, rows)
}
