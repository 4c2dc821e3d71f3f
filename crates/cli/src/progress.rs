//! Progress on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};

use crate::output::ProgressStyle;
use crate::units;

/// Where a training stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StepReport {
    /// Steps done.
    pub(crate) step: u64,
    /// Steps to do, if known.
    pub(crate) total_steps: Option<u64>,
    /// The speed since the last report.
    pub(crate) rows_per_second: f64,
    /// The loss of the last step.
    pub(crate) loss: f64,
    /// The AUC of the training rows so far.
    pub(crate) auc_so_far: Option<f64>,
    /// The share of the work done, between 0 and 1.
    pub(crate) fraction: f64,
}

/// Shows how far the work has come.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: Shown,
    start: Instant,
    /// Time and share of the first report: what came before is warming up, or the work of a run that is resumed.
    first: Option<(Duration, f64)>,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    /// A line each time the step passes a multiple of `every`; `next` is the next such multiple.
    Lines {
        every: u64,
        next: u64,
    },
}

/// Parts of a bar.
const BAR_PARTS: u64 = 10_000;

impl Progress {
    /// Starts the clock. Lines are written every `every` steps (`log_step_count_steps`).
    pub(crate) fn new(style: ProgressStyle, every: u64) -> Progress {
        let every = every.max(1);
        let shown = match style {
            ProgressStyle::Silent => Shown::Nothing,
            ProgressStyle::Lines => Shown::Lines { every, next: every },
            ProgressStyle::Bar => {
                let bar = ProgressBar::with_draw_target(Some(BAR_PARTS), ProgressDrawTarget::stderr_with_hz(10));
                let style = BarStyle::with_template("{bar:24} {msg}").unwrap_or_else(|_| BarStyle::default_bar());
                bar.set_style(style);
                Shown::Bar(bar)
            }
        };
        Progress { shown, start: Instant::now(), first: None }
    }

    /// Tells where the training stands.
    pub(crate) fn update(&mut self, report: &StepReport) {
        let left = self.time_left(report.fraction);
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position((report.fraction.clamp(0.0, 1.0) * BAR_PARTS as f64) as u64);
                bar.set_message(line(report, left));
            }
            Shown::Lines { every, next } => {
                let last = report.total_steps == Some(report.step);
                if report.step >= *next || last {
                    *next = (report.step / *every + 1) * *every;
                    write_line(&line(report, left));
                }
            }
        }
    }

    /// Tells how far work without steps has come; in lines it is not worth one.
    pub(crate) fn update_share(&mut self, fraction: f64, what: &str) {
        let Shown::Bar(bar) = &self.shown else { return };
        bar.set_position((fraction.clamp(0.0, 1.0) * BAR_PARTS as f64) as u64);
        bar.set_message(what.to_owned());
    }

    /// Does something that writes to stderr, with the bar out of the way.
    pub(crate) fn aside(&self, write: impl FnOnce()) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(write),
            _ => write(),
        }
    }

    /// Removes the bar; lines stay.
    pub(crate) fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }

    fn time_left(&mut self, fraction: f64) -> Option<Duration> {
        let elapsed = self.start.elapsed();
        let (first_elapsed, first_fraction) = *self.first.get_or_insert((elapsed, fraction));
        time_left(elapsed - first_elapsed, fraction - first_fraction, 1.0 - fraction)
    }
}

/// How long `share_left` takes if `share_done` took `elapsed`.
fn time_left(elapsed: Duration, share_done: f64, share_left: f64) -> Option<Duration> {
    let seconds = elapsed.as_secs_f64() / share_done * share_left.max(0.0);
    // The first instants say nothing; dividing by them would only alarm.
    (share_done > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// One line about where a training stands.
fn line(report: &StepReport, left: Option<Duration>) -> String {
    let StepReport { step, total_steps, rows_per_second, loss, auc_so_far, fraction } = report;
    let mut text = format!("step {}", units::count(*step));
    if let Some(total) = total_steps {
        text += &format!("/{}", units::count(*total));
    }
    text += &format!("  {:.1} %  {} rows/s  loss {loss:.4}", fraction * 100.0, units::count(rows_per_second.round() as u64));
    if let Some(auc) = auc_so_far {
        text += &format!("  auc {auc:.4}");
    }
    if let Some(left) = left {
        text += &format!("  {} left", units::duration(left));
    }
    text
}

fn write_line(text: &str) {
    // Whoever closed stderr does not want to hear of it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let mut report =
            StepReport { step: 1200, total_steps: None, rows_per_second: 48_211.4, loss: 0.432_15, auc_so_far: None, fraction: 0.154 };
        assert_eq!(line(&report, None), "step 1,200  15.4 %  48,211 rows/s  loss 0.4321");
        report.total_steps = Some(6500);
        report.auc_so_far = Some(0.8123);
        let left = Some(Duration::from_secs(125));
        assert_eq!(line(&report, left), "step 1,200/6,500  15.4 %  48,211 rows/s  loss 0.4321  auc 0.8123  2 min 05 s left");
    }

    #[test]
    fn the_time_left_follows_from_the_time_taken() {
        let elapsed = Duration::from_secs(10);
        assert_eq!(time_left(elapsed, 0.25, 0.75), Some(Duration::from_secs(30)));
        assert_eq!(time_left(elapsed, 0.25, 0.5), Some(Duration::from_secs(20)));
        assert_eq!(time_left(elapsed, 1.0, 0.0), Some(Duration::ZERO));
        for none in [0.0, -0.1, f64::NAN, 1e-300] {
            assert_eq!(time_left(elapsed, none, 1.0 - none), None);
        }
    }

    #[test]
    fn lines_come_every_so_many_steps_and_at_the_end() {
        let mut progress = Progress::new(ProgressStyle::Lines, 100);
        let mut next = |step, total_steps| {
            progress.update(&StepReport { step, total_steps, ..StepReport::default() });
            let Shown::Lines { next, .. } = progress.shown else { panic!() };
            next
        };
        assert_eq!([next(1, None), next(99, None), next(100, None), next(350, None), next(399, None)], [100, 100, 200, 400, 400]);
        assert_eq!(next(410, Some(410)), 500);
        assert!(matches!(Progress::new(ProgressStyle::Silent, 0).shown, Shown::Nothing));
    }
}
