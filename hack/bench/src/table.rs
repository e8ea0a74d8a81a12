//! What was measured, as a table beside the budgets.

/// What upstream v1.36.2 was measured at on two cores, for where a run doesn't measure it itself.
const RECORDED: &[(&str, &str)] = &[
    ("exec to ready, empty etcd", "3.2–5.5 s"),
    ("apiserver, 10,000 pods, 12,500 ConfigMaps, 1,000 nodes", "1,376 MB"),
    ("create ConfigMap, 32 connections", "1,069/s"),
    ("GET, consistent, 32 connections", "2,017/s"),
    ("LIST of 12,500 ConfigMaps, 4 connections: resourceVersion=0, JSON", "5.0/s"),
    ("bind 5,000 pods on 1,000 nodes, events on", "185–197/s"),
    ("kube-proxy, 10,000 Services × 5 endpoints: from exec until all work", "56 s"),
    ("kube-proxy: one of these endpoints changed", "6.6 s"),
    ("kube-proxy: memory then", "204 MB"),
    ("a cluster's daemons when idle: processor, all", "7.5% of a core"),
    ("a cluster's daemons when idle: memory, all", "705 MB without the cloud controller manager"),
    ("one pod, create to Ready", "1.1 s"),
    ("50-pod Deployment, up", "16.1 s"),
    ("50-pod Deployment, down", "15.3 s"),
];

/// One measured value.
struct Row {
    measure: String,
    budget: &'static str,
    values: [Option<String>; 2],
}

/// The table. Column 0 is Keelson's, column 1 what it is compared with.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    column: usize,
}

impl Table {
    /// Values added from now on belong to this column.
    pub(crate) fn column(&mut self, column: usize) {
        self.column = column;
    }

    /// Adds a value, and shows it at once: a run is long.
    pub(crate) fn add(&mut self, measure: impl Into<String>, budget: &'static str, value: String) {
        let measure = measure.into();
        eprintln!("  {measure}: {value}");
        let at = self.rows.iter().position(|row| row.measure == measure).unwrap_or_else(|| {
            self.rows.push(Row { measure, budget, values: [None, None] });
            self.rows.len() - 1
        });
        self.rows[at].values[self.column] = Some(value);
    }

    /// Prints it for a terminal.
    pub(crate) fn print(&self) {
        for row in &self.rows {
            println!("{}", row.measure);
            let [ours, other] = &row.values;
            let lines = [("Keelson", ours.as_deref()), ("upstream", other.as_deref())];
            let budget = Some(("budget", row.budget)).filter(|(_, budget)| !budget.is_empty());
            let lines = lines.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(budget);
            for (name, value) in lines {
                println!("    {name:<10}{value}");
            }
        }
    }

    /// Prints it as Markdown, with how many times better each value is. An upstream value with a `*` is a recorded one.
    pub(crate) fn print_markdown(&self) {
        println!("| measure | Keelson | upstream | ratio | budget |\n| --- | --- | --- | --- | --- |");
        for row in &self.rows {
            let ours = row.values[0].as_deref().unwrap_or("-");
            let recorded =
                RECORDED.iter().find(|(measure, _)| *measure == row.measure).map(|(_, value)| *value);
            let (other, mark) = match (row.values[1].as_deref(), recorded) {
                (Some(measured), _) => (measured, ""),
                (None, Some(recorded)) => (recorded, "*"),
                (None, None) => ("-", ""),
            };
            let ratio = ratio(ours, other).map_or("-".to_owned(), |ratio| format!("{ratio} ×"));
            println!("| {} | {ours} | {other}{mark} | {ratio} | {} |", row.measure, row.budget);
        }
    }
}

/// How many times the better of two values is the other, where both begin with a number in the same unit.
fn ratio(a: &str, b: &str) -> Option<String> {
    let ((a, unit), (b, other)) = (number(a)?, number(b)?);
    if unit != other || a <= 0.0 || b <= 0.0 {
        return None;
    }
    // More is better of what is counted per second, less of everything else.
    let ratio = if unit == "/s" { a / b } else { b / a };
    Some(if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") })
}

/// The number that a value begins with, and its unit. Of a range, the first.
fn number(value: &str) -> Option<(f64, &str)> {
    let end = value.find(|c: char| !c.is_ascii_digit() && !",.".contains(c)).unwrap_or(value.len());
    let (digits, rest) = value.split_at(end);
    let rest = rest.trim_start_matches(|c: char| c == '–' || c == '.' || c.is_ascii_digit()).trim_start();
    let unit = rest.split([',', ' ', '(', ';']).next()?;
    Some((digits.replace(',', "").trim_end_matches('.').parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_by_what_they_begin_with() {
        assert_eq!(number("1,376 MB; 2 MB with more"), Some((1376.0, "MB")));
        assert_eq!(number("3.2–5.5 s"), Some((3.2, "s")));
        assert_eq!(number("0.31% of a core"), Some((0.31, "%")));
        assert_eq!(number("p50 3 ms"), None);
        assert_eq!(ratio("4000/s, 0.9 × etcd", "1,000/s").as_deref(), Some("4.0"));
        assert_eq!(ratio("0.1 s", "3.2–5.5 s").as_deref(), Some("32"));
        assert_eq!(ratio("3.2 s", "0.1 s").as_deref(), Some("0.0"));
        assert_eq!(ratio("10 ms", "1 s"), None);
    }
}
