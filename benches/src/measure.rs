//! Measures contenders that take turns.

use std::time::Duration;

/// One of the alternatives that a benchmark compares.
pub struct Contender<'a> {
    /// The name of the contender.
    pub name: &'static str,
    /// Repeats the operation the given number of times, and returns the total time. The loop is in this function, so
    /// that the compiler can optimize it as a whole.
    pub run: Box<dyn FnMut(u64) -> Duration + 'a>,
    /// The divisor of the repetitions in a turn; more than 1 for slow contenders.
    pub one_in: u64,
}

/// How often contenders take turns, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// The number of rounds. In each round, every contender has one turn.
    pub rounds: usize,
    /// The number of repetitions in a turn.
    pub repetitions: u64,
}

/// The times of a contender in each round.
#[derive(Clone, Debug)]
pub struct Series {
    /// The name of the contender.
    pub name: &'static str,
    /// The nanoseconds for one repetition: one value for each round.
    pub ns: Vec<f64>,
}

impl Series {
    /// The median, in nanoseconds.
    pub fn median(&self) -> f64 {
        median(&self.ns)
    }

    /// The ratio of the medians: how many times as long as `other` this contender takes.
    pub fn ratio_to(&self, other: &Self) -> f64 {
        self.median() / other.median()
    }
}

/// Lets the contenders take turns. Each round begins with a different contender. The first round is a warm-up and does
/// not count.
pub fn take_turns(mut contenders: Vec<Contender<'_>>, rounds: Rounds) -> Vec<Series> {
    let mut all: Vec<_> =
        contenders.iter().map(|contender| Series { name: contender.name, ns: Vec::new() }).collect();
    for round in 0..=rounds.rounds {
        for turn in 0..contenders.len() {
            let which = (round + turn) % contenders.len();
            let contender = &mut contenders[which];
            let repetitions = (rounds.repetitions / contender.one_in).max(1);
            let took = (contender.run)(repetitions);
            if round > 0 {
                all[which].ns.push(took.as_nanos() as f64 / repetitions as f64);
            }
        }
    }
    all
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The quantile of the values at `share`, which is between 0 and 1; NaN if there are no values.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values_or_nan_if_there_are_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.99), 3.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn contenders_take_turns_and_the_first_round_is_discarded() {
        let contender = |name, one_in, ns_each: u64| Contender {
            name,
            run: Box::new(move |repetitions| Duration::from_nanos(repetitions * ns_each)),
            one_in,
        };
        let rounds = Rounds { rounds: 3, repetitions: 100 };
        let all = take_turns(vec![contender("fast", 1, 2), contender("slow", 10, 30)], rounds);
        assert_eq!(all[0].ns, [2.0, 2.0, 2.0]);
        assert_eq!(all[1].ratio_to(&all[0]), 15.0);
    }
}
