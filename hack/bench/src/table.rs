//! What was measured, as a table beside the budgets.

/// One measured value.
struct Row {
    measure: &'static str,
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
    pub(crate) fn add(&mut self, measure: &'static str, budget: &'static str, value: String) {
        eprintln!("  {measure}: {value}");
        let at = self.rows.iter().position(|row| row.measure == measure).unwrap_or_else(|| {
            self.rows.push(Row { measure, budget, values: [None, None] });
            self.rows.len() - 1
        });
        self.rows[at].values[self.column] = Some(value);
    }

    /// Prints it as Markdown.
    pub(crate) fn print(&self) {
        println!("| measure | Keelson | upstream | budget |\n| --- | --- | --- | --- |");
        for row in &self.rows {
            let [ours, other] = &row.values;
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            println!("| {} | {} | {} | {} |", row.measure, shown(ours), shown(other), row.budget);
        }
    }
}
