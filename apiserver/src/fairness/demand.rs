//! How many seats a level wanted lately.

/// Upstream's coefficient of exponential smoothing, for steps of ten seconds.
const SMOOTHING: f64 = 0.977;

/// Integrates a number over time.
#[derive(Debug, Default)]
pub(super) struct Integrator {
    last: f64,
    value: f64,
    seconds: f64,
    sum: f64,
    squares: f64,
    most: f64,
}

/// What was seen between two readings.
pub(super) struct Seen {
    seconds: f64,
    average: f64,
    deviation: f64,
    most: f64,
}

impl Integrator {
    fn advance(&mut self, now: f64) {
        let passed = (now - self.last).max(0.0);
        self.last = now;
        self.seconds += passed;
        self.sum += self.value * passed;
        self.squares += self.value * self.value * passed;
    }

    /// The number is this from now on.
    pub(super) fn set(&mut self, now: f64, value: f64) {
        self.advance(now);
        self.value = value;
        self.most = self.most.max(value);
    }

    /// Reads what was seen since the last reading.
    pub(super) fn take(&mut self, now: f64) -> Seen {
        self.advance(now);
        let average = if self.seconds > 0.0 { self.sum / self.seconds } else { 0.0 };
        let variance = if self.seconds > 0.0 { self.squares / self.seconds - average * average } else { 0.0 };
        let seen =
            Seen { seconds: self.seconds, average, deviation: variance.max(0.0).sqrt(), most: self.most };
        *self = Integrator { last: now, value: self.value, most: self.value, ..Integrator::default() };
        seen
    }
}

/// The statistics that borrowing goes by.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Demand {
    pub(super) average: f64,
    pub(super) deviation: f64,
    pub(super) most: usize,
    pub(super) smoothed: f64,
}

impl Demand {
    /// Takes a reading in.
    pub(super) fn update(&mut self, seen: &Seen) {
        self.most = seen.most.round() as usize;
        if seen.seconds <= 0.0 {
            return;
        }
        self.average = seen.average;
        self.deviation = seen.deviation;
        let envelope = seen.average + seen.deviation;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_weighted_by_time() {
        let mut integrator = Integrator::default();
        integrator.set(0.0, 4.0);
        integrator.set(5.0, 0.0);
        let mut demand = Demand::default();
        demand.update(&integrator.take(10.0));
        assert_eq!((demand.average, demand.deviation, demand.most), (2.0, 2.0, 4));
        assert_eq!(demand.smoothed, 4.0);
        demand.update(&integrator.take(20.0));
        assert_eq!((demand.average, demand.most), (0.0, 0));
        assert!(demand.smoothed > 3.8, "it falls slowly: {}", demand.smoothed);
    }
}
