//! The sentence of advice that follows from the numbers of `replug bench`.

use super::{
    measure::Row,
    numbers::{duration, percent, times},
    report::{Api, Body, Lane, Report},
};
use replug_model::limits::LaneKind;

/// One sentence about `mode` in the plugin's manifest. It compares calls in process with calls over the faster lane to a
/// child process. In both cases, it uses the dynamic calls of a method that was looked up once, before the measurement.
pub(super) fn advice(report: &Report) -> String {
    let id = &report.plugin;
    let (inside, (lane, child)) = match (fastest(report, Body::InProcess), fastest(report, Body::Child)) {
        (Some(inside), Some(child)) => (inside.p50_ns, (over(child.lane), child.p50_ns)),
        (Some(_), None) => return incomparable(id, Body::Child),
        (None, Some(_)) => return incomparable(id, Body::InProcess),
        (None, None) => return format!("{id} was not measured"),
    };
    let added = child - inside;
    let share = added / inside;
    if share <= 0.0 {
        return format!("`mode = \"process\"` adds no measurable time to a call of {id}{lane}: use it");
    }
    let cost = format!(
        "`mode = \"process\"` adds {} to each call of {id}{lane}, {} of the time of the call in process",
        duration(added),
        percent(share)
    );
    match share {
        ..=0.1 => format!("{cost}: use it"),
        ..=1.0 => format!("{cost}: use it unless you trust the plugin never to crash"),
        _ => format!(
            "`mode = \"process\"` multiplies the time of a call of {id} by {}, from {} to {}{lane}: keep it in process if you trust it",
            times(child / inside),
            duration(inside),
            duration(child),
        ),
    }
}

fn fastest(report: &Report, body: Body) -> Option<&Row> {
    let rows = report.rows.iter().filter(|row| row.api == Api::Raw && row.lane.body() == body);
    rows.min_by(|one, other| one.p50_ns.total_cmp(&other.p50_ns))
}

fn over(lane: Lane) -> &'static str {
    match lane {
        Lane::InProcess => "",
        Lane::Child(LaneKind::SharedMemory) => " (over shared memory)",
        Lane::Child(LaneKind::Socket) => " (over a socket)",
    }
}

/// The sentence instead of advice if the plugin did not start in this body. The reason may be the measurement itself:
/// two instances of a plugin cannot hold the same port.
fn incomparable(id: &str, missing: Body) -> String {
    format!(
        "the modes cannot be compared, because {id} did not start {}",
        match missing {
            Body::InProcess => "in process",
            Body::Child => "in a child process",
        }
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::report::tests::{report, row},
        *,
    };

    const SOCKET: Lane = Lane::Child(LaneKind::Socket);
    const MEMORY: Lane = Lane::Child(LaneKind::SharedMemory);

    fn with(inside: f64, child: f64) -> String {
        advice(&report(vec![row(Lane::InProcess, Api::Raw, inside), row(SOCKET, Api::Raw, child)]))
    }

    #[test]
    fn the_advice_follows_from_the_cost_of_a_child_process() {
        assert_eq!(
            with(275_000.0, 276_100.0),
            "`mode = \"process\"` adds 1.10 us to each call of a.b (over a socket), 0.4 % of the time of the call in process: use it"
        );
        assert_eq!(
            with(40_000.0, 58_000.0),
            "`mode = \"process\"` adds 18.0 us to each call of a.b (over a socket), 45 % of the time of the call in process: use it unless you trust the plugin never to crash"
        );
        assert_eq!(
            with(1_150.0, 37_000.0),
            "`mode = \"process\"` multiplies the time of a call of a.b by 32, from 1.15 us to 37.0 us (over a socket): keep it in process if you trust it"
        );
        assert_eq!(
            with(2e6, 1.99e6),
            "`mode = \"process\"` adds no measurable time to a call of a.b (over a socket): use it"
        );
    }

    #[test]
    fn the_advice_compares_equal_calls_only() {
        let mut report = report(vec![
            row(Lane::InProcess, Api::Typed, 100.0),
            row(Lane::InProcess, Api::ByName, 90_000.0),
            row(Lane::InProcess, Api::Raw, 10_000.0),
            row(SOCKET, Api::Raw, 30_000.0),
        ]);
        assert!(advice(&report).contains("by 3.0, from 10.0 us to 30.0 us (over a socket)"));
        report.rows.pop();
        assert_eq!(
            advice(&report),
            "the modes cannot be compared, because a.b did not start in a child process"
        );
        report.rows = vec![row(SOCKET, Api::Raw, 30_000.0)];
        assert_eq!(advice(&report), "the modes cannot be compared, because a.b did not start in process");
    }

    #[test]
    fn the_advice_names_the_faster_lane() {
        let lanes = |socket, memory| {
            let (socket, memory) = (row(SOCKET, Api::Raw, socket), row(MEMORY, Api::Raw, memory));
            advice(&report(vec![row(Lane::InProcess, Api::Raw, 1_000.0), socket, memory]))
        };
        assert!(lanes(9_000.0, 4_000.0).contains("from 1.00 us to 4.00 us (over shared memory)"));
        assert!(lanes(3_000.0, 5_000.0).contains("from 1.00 us to 3.00 us (over a socket)"));
    }
}
