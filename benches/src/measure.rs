//! Measures contenders that take turns.

use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// The longest duration of one operation, in nanoseconds: an hour. A longer one counts as an hour.
const LONGEST: u64 = 3_600_000_000_000;

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

/// A contender whose operations are timed one by one, for the distribution of their durations.
pub struct Sampler<'a, E> {
    /// The name of the contender.
    pub name: &'static str,
    /// Repeats the operation the given number of times, and returns the nanoseconds of each.
    pub run: Box<dyn FnMut(u64) -> Result<Vec<u64>, E> + 'a>,
}

impl<'a, E: 'a> Sampler<'a, E> {
    /// A contender with this operation.
    pub fn new(name: &'static str, mut once: impl FnMut() -> Result<(), E> + 'a) -> Self {
        let run = move |repetitions| {
            let timed = |_| {
                let began = Instant::now();
                once()?;
                Ok(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
            };
            (0..repetitions).map(timed).collect()
        };
        Self { name, run: Box::new(run) }
    }
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

/// The durations of a contender.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// The mean of each round.
    pub series: Series,
    times: Histogram<u64>,
}

impl Distribution {
    /// The duration at a quantile such as 0.999, in nanoseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        self.times.value_at_quantile(share) as f64
    }
}

/// As [`take_turns`], with the time of each operation. `failed` gets the name and the error of each contender that
/// fails. Such a contender takes no further turns.
pub fn sample_turns<E>(
    mut samplers: Vec<Sampler<'_, E>>,
    rounds: Rounds,
    mut failed: impl FnMut(&'static str, E),
) -> Vec<Distribution> {
    let start = |sampler: &Sampler<'_, E>| Distribution {
        series: Series { name: sampler.name, ns: Vec::new() },
        times: Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are valid"),
    };
    let mut all: Vec<_> = samplers.iter().map(start).collect();
    for round in 0..=rounds.rounds {
        let mut turn = 0;
        while turn < samplers.len() {
            let which = (round + turn) % samplers.len();
            match (samplers[which].run)(rounds.repetitions) {
                Err(error) => {
                    failed(samplers[which].name, error);
                    samplers.remove(which);
                    all.remove(which);
                    continue;
                }
                Ok(times) if round > 0 => {
                    let of = &mut all[which];
                    of.series.ns.push(times.iter().sum::<u64>() as f64 / times.len().max(1) as f64);
                    times.iter().for_each(|ns| of.times.saturating_record(*ns));
                }
                Ok(_) => {}
            }
            turn += 1;
        }
    }
    all
}

/// Lets the contenders take turns. Each round begins with a different contender. The first round is a warm-up, which is
/// not part of the result.
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
    fn a_contender_that_fails_takes_no_further_turns() {
        let rounds = Rounds { rounds: 3, repetitions: 100 };
        let fixed = |name, ns| Sampler { name, run: Box::new(move |count| Ok(vec![ns; count as usize])) };
        let mut left = 2;
        let run = move |count| {
            left -= 1;
            if left == 0 { Err("gone") } else { Ok(vec![5; count as usize]) }
        };
        let failing = Sampler { name: "failing", run: Box::new(run) };
        let mut failures = Vec::new();
        let samplers = vec![fixed("fast", 2), failing, fixed("slow", 30)];
        let all = sample_turns(samplers, rounds, |name, error| failures.push((name, error)));
        assert_eq!(failures, [("failing", "gone")]);
        assert_eq!(all.iter().map(|one| one.series.name).collect::<Vec<_>>(), ["fast", "slow"]);
        assert_eq!(all[1].series.ns, [30.0; 3]);
        assert_eq!((all[1].quantile(0.5), all[1].quantile(0.999)), (30.0, 30.0));
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
