//! What ends a run before its data and its steps do: the user, `train_config.dead_line`, a stop file, or its evaluations.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{Local, NaiveDateTime, TimeZone, Utc};
use rankmill_config::{Diagnostic, Pipeline};

/// The file in the model directory that ends a run, where `train_config.enable_oss_stop_signal` asks for it.
pub const STOP_FILE: &str = "OSS_STOP_SIGNAL";

/// How often the stop file is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a run ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The user asked for it; the run is to go on later.
    Interrupted,
    /// The time of `train_config.dead_line` is over.
    DeadLine(String),
    /// There is a stop file.
    StopFile(PathBuf),
    /// The evaluations say that it may end, and why.
    EarlyStop(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Interrupted => write!(f, "stopped before the end; go on with --resume"),
            Ending::DeadLine(time) => write!(f, "stopped at train_config.dead_line, {time}; go on with --resume and a later one"),
            Ending::StopFile(path) => write!(f, "stopped because there is {}; remove it and go on with --resume", path.display()),
            Ending::EarlyStop(why) => write!(f, "stopped early: {why}"),
        }
    }
}

/// Looks between steps whether the run is to end.
#[derive(Debug)]
pub(crate) struct Watch {
    dead_line: Option<(i64, String)>,
    stop_file: Option<PathBuf>,
    looked: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(pipeline: &Pipeline, model_dir: &Path) -> Result<Watch, Diagnostic> {
        let train = pipeline.proto.train_config.clone().unwrap_or_default();
        let dead_line = match train.dead_line() {
            "" => None,
            text => Some((dead_line(pipeline, text)?, text.to_owned())),
        };
        let stop_file = train.enable_oss_stop_signal().then(|| model_dir.join(STOP_FILE));
        Ok(Watch { dead_line, stop_file, looked: None })
    }

    /// Why the run is to end now, if it is.
    pub(crate) fn ending(&mut self, stop: &AtomicBool) -> Option<Ending> {
        if stop.load(Ordering::Relaxed) {
            return Some(Ending::Interrupted);
        }
        if let Some((_, text)) = self.dead_line.as_ref().filter(|(end, _)| Utc::now().timestamp() > *end) {
            return Some(Ending::DeadLine(text.clone()));
        }
        let file = self.stop_file.as_ref()?;
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        file.exists().then(|| Ending::StopFile(file.clone()))
    }
}

/// The second of a dead line: `YYYYMMDD HH:MM:SS` of the machine's own time zone, or ten digits, seconds since 1970.
fn dead_line(pipeline: &Pipeline, text: &str) -> Result<i64, Diagnostic> {
    let local = |time: NaiveDateTime| Local.from_local_datetime(&time).latest().map(|time| time.timestamp());
    let second = match text.len() {
        17 => NaiveDateTime::parse_from_str(text, "%Y%m%d %H:%M:%S").ok().and_then(local),
        10 => text.parse().ok(),
        _ => None,
    };
    second.ok_or_else(|| {
        let message = format!("`{text}` is no time; expected one such as `20261231 23:59:59`, or seconds since 1970 in ten digits");
        pipeline.error("train_config.dead_line", message)
    })
}
