//! Where the time of training went: operations of one kind and size together.

use rankmill_graph::OpProfile;
use serde::Serialize;

use crate::table::Table;
use crate::units;

/// Operations of one kind on tensors of one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ProfileLine {
    /// What they do.
    pub(crate) operation: &'static str,
    /// The shape of their outputs.
    pub(crate) output: String,
    /// How many of them a step has.
    pub(crate) count: usize,
    /// Time in them, added over all threads, in seconds.
    pub(crate) seconds: f64,
    /// Floating-point operations they did, in 10^9 a second.
    pub(crate) gflops: f64,
    /// Bytes of their inputs and outputs, in 10^9 a second: what they would move if nothing stayed in cache.
    pub(crate) gbytes: f64,
}

/// Operations of one kind and size together, longest first.
pub(crate) fn profile_lines(profile: &[OpProfile]) -> Vec<ProfileLine> {
    let mut lines: Vec<(ProfileLine, f64, f64)> = Vec::new();
    for op in profile {
        let known = lines.iter_mut().find(|(line, ..)| line.operation == op.op && line.output == op.shape);
        match known {
            Some((line, flops, bytes)) => {
                line.count += 1;
                line.seconds += op.seconds;
                *flops += op.flops;
                *bytes += op.bytes;
            }
            None => {
                let output = op.shape.clone();
                let line = ProfileLine { operation: op.op, output, count: 1, seconds: op.seconds, gflops: 0.0, gbytes: 0.0 };
                lines.push((line, op.flops, op.bytes));
            }
        }
    }
    lines.sort_by(|(a, ..), (b, ..)| b.seconds.total_cmp(&a.seconds));
    let finished = lines.into_iter().map(|(line, flops, bytes)| {
        let rate = |amount: f64| if line.seconds > 0.0 { amount / line.seconds * 1e-9 } else { 0.0 };
        ProfileLine { gflops: rate(flops), gbytes: rate(bytes), ..line }
    });
    finished.collect()
}

/// Shares below this are not shown one by one.
const LEAST_SHARE: f64 = 0.002;

/// The lines as people read them.
pub(crate) fn profile_table(lines: &[ProfileLine]) -> String {
    let total: f64 = lines.iter().map(|line| line.seconds).sum();
    let share = |seconds: f64| seconds / total.max(f64::MIN_POSITIVE);
    let percent = |seconds: f64| format!("{:.1} %", 100.0 * share(seconds));
    let mut table = Table::new(["time of threads in", "output", "count", "seconds", "share", "GFLOP/s", "GB/s"]);
    let (shown, small): (Vec<&ProfileLine>, Vec<&ProfileLine>) = lines.iter().partition(|line| share(line.seconds) >= LEAST_SHARE);
    for line in shown {
        let rates = [line.gflops, line.gbytes].map(|rate| format!("{rate:.1}"));
        let [gflops, gbytes] = rates;
        let seconds = format!("{:.3}", line.seconds);
        table.row([line.operation.to_owned(), line.output.clone(), line.count.to_string(), seconds, percent(line.seconds), gflops, gbytes]);
    }
    if !small.is_empty() {
        let seconds: f64 = small.iter().map(|line| line.seconds).sum();
        let count = units::count(small.iter().map(|line| line.count as u64).sum());
        let none = String::new;
        table.row(["others".to_owned(), none(), count, format!("{seconds:.3}"), percent(seconds), none(), none()]);
    }
    table.to_string().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(op: &'static str, shape: &str, seconds: f64) -> OpProfile {
        OpProfile { op, scope: String::new(), shape: shape.to_owned(), seconds, flops: 2e9, bytes: 1e9 }
    }

    #[test]
    fn alike_operations_are_one_line_and_small_ones_are_summed_up() {
        let profile =
            [op("sum", "[B, 1]", 0.001), op("product", "[B, 512]", 1.0), op("lookup", "[B, 16]", 0.5), op("product", "[B, 512]", 1.0)];
        let lines = profile_lines(&profile);
        insta::assert_snapshot!(profile_table(&lines), @r"
        time of threads in    output  count  seconds   share  GFLOP/s  GB/s
        product             [B, 512]      2    2.000  80.0 %      2.0   1.0
        lookup               [B, 16]      1    0.500  20.0 %      4.0   2.0
        others                            1    0.001   0.0 %
        ");
    }
}
