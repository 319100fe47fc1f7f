//! How many instructions a process retires: unlike time, they do not depend on what else the machine does.

use std::process::{Child, Command, Stdio};

/// In the process itself, and in the system on its behalf.
const EVENTS: &str = "instructions:u,instructions:k";

/// `perf stat`, at work.
#[derive(Debug)]
pub(crate) struct Counting(Child);

impl Counting {
    /// Counts all threads of a process for so many seconds.
    pub(crate) fn start(pid: u32, seconds: u64) -> Result<Self, String> {
        let child = Command::new("perf")
            .args(["stat", "-e", EVENTS, "-x,", "-p", &pid.to_string(), "--", "sleep", &seconds.to_string()])
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        child.map(Self).map_err(|error| format!("perf cannot be run: {error}"))
    }

    /// Waits for the end; what was counted, or why nothing was.
    pub(crate) fn finish(self) -> Result<u64, String> {
        let output = self.0.wait_with_output().map_err(|error| format!("perf did not end: {error}"))?;
        let text = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("without a word");
            return Err(format!("perf failed: {last}"));
        }
        read(&text)
    }
}

/// Reads lines of `value,unit,event,...`. A processor with two kinds of cores has two lines for each event, and counts
/// nothing in one of them for a process that was on the other kind alone.
fn read(text: &str) -> Result<u64, String> {
    let lines = || text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let mut sum = 0_u64;
    for event in EVENTS.split(',') {
        let mode = event.chars().next_back().unwrap_or_default();
        let values: Vec<String> = lines()
            .filter_map(|fields| match fields.as_slice() {
                [value, _unit, name, ..] if name.contains("instructions") => {
                    name.trim_end_matches('/').ends_with(mode).then(|| (*value).to_owned())
                }
                _ => None,
            })
            .collect();
        let counts: Vec<u64> = values.iter().filter_map(|value| value.parse().ok()).collect();
        if counts.is_empty() {
            let reason = values.first().map_or("not reported", String::as_str);
            return Err(format!("perf, {event}: {reason}"));
        }
        sum += counts.iter().sum::<u64>();
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_and_reasons_handed_on() {
        let counted = "1200,,instructions:u,4500,100.00,,\n300,,instructions:k,4500,100.00,,\n";
        assert_eq!(read(counted), Ok(1500));
        let hybrid = "<not counted>,,cpu_atom/instructions/u,0,0.00,,\n7,,cpu_core/instructions/u,1,100.00,,\n\
                      <not counted>,,cpu_atom/instructions/k,0,0.00,,\n8,,cpu_core/instructions/k,1,100.00,,\n";
        assert_eq!(read(hybrid), Ok(15));
        let none = "<not supported>,,instructions:u,0,100.00,,\n<not supported>,,instructions:k,0,100.00,,\n";
        assert_eq!(read(none), Err("perf, instructions:u: <not supported>".into()));
        assert_eq!(read(""), Err("perf, instructions:u: not reported".into()));
    }
}
