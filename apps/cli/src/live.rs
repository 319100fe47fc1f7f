//! What is seen of a call while it goes on: one line that is drawn again, and keys.

use std::io::{IsTerminal, Write};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use undertone_client::Protection;
use undertone_client::engine::CallInfo;
use undertone_client::native::Status;

/// Nothing of the other side for so long is worth saying before the relay has noticed.
const QUIET_MS: u32 = 1_000;

/// What a person pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    HangUp,
    Mute,
    Same,
}

/// A terminal in raw mode, given back when dropped.
#[derive(Debug)]
pub(crate) struct Live {
    shown: bool,
    raw: bool,
    /// Without a keyboard nothing is pressed, which is not the same as its being gone.
    _keys: mpsc::Sender<Key>,
}

impl Live {
    /// Takes over the terminal, where there is one and a person wants to look. Keys come on the channel.
    pub(crate) fn start(wanted: bool) -> (Self, mpsc::Receiver<Key>) {
        let shown = wanted && std::io::stderr().is_terminal();
        let (keys, received) = mpsc::channel(8);
        let raw = shown && std::io::stdin().is_terminal() && crossterm::terminal::enable_raw_mode().is_ok();
        if raw {
            let keys = keys.clone();
            // Ends with the process; the terminal has no other way to be waited for.
            std::thread::spawn(move || {
                while let Ok(event) = crossterm::event::read() {
                    if let Some(key) = key(&event)
                        && keys.blocking_send(key).is_err()
                    {
                        return;
                    }
                }
            });
        }
        (Self { shown, raw, _keys: keys }, received)
    }

    /// Draws the line.
    pub(crate) fn draw(&self, seconds: u64, muted: bool, away: bool, info: &CallInfo, status: &Status) {
        if !self.shown {
            return;
        }
        let quality = match status.loss_percent {
            _ if away => "away",
            _ if status.quiet_ms > QUIET_MS => "nothing comes",
            loss if loss < 2.0 => "good",
            loss if loss < 8.0 => "fair",
            _ => "poor",
        };
        let hop = info.protection == Protection::Hop;
        // What must be seen stands first; what does not fit is left out from the end.
        let mut parts = vec![format!("{:02}:{:02}", seconds / 60, seconds % 60)];
        if hop {
            parts.push("HOP: THE RELAY HEARS".into());
        }
        parts.push(format!(
            "you {}{}",
            bar(if muted { -96.0 } else { status.level_out }),
            if muted { " muted" } else { "" }
        ));
        parts.push(format!("them {}", bar(status.level_in)));
        parts.push(quality.into());
        parts.push(format!("{:.0}% lost", status.loss_percent));
        parts.push(format!("{:.0} ms", status.latency_ms));
        if let Some(epoch) = info.epoch {
            parts.push(format!("blind, epoch {epoch}"));
        }
        // A line that wraps would scroll everything else away.
        let width = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        let line = fitting(&parts, width.saturating_sub(1));
        let line = format!("\r\x1b[2K{line}");
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(line.as_bytes()).and_then(|()| stderr.flush());
    }

    /// Makes room for ordinary lines.
    pub(crate) fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[2K");
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
        if self.raw {
            let _ = crossterm::terminal::disable_raw_mode();
        }
    }
}

fn key(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind != KeyEventKind::Press {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::HangUp),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::HangUp),
        KeyCode::Char('m' | 'M') => Some(Key::Mute),
        KeyCode::Char('v' | 'V') => Some(Key::Same),
        _ => None,
    }
}

/// As many of the parts as fit into so many columns, from the first on.
fn fitting(parts: &[String], width: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let more = part.chars().count() + if line.is_empty() { 0 } else { 2 };
        if line.chars().count() + more > width {
            break;
        }
        if !line.is_empty() {
            line.push_str("  ");
        }
        line.push_str(part);
    }
    line
}

/// Eight cells from -48 to 0 decibels.
fn bar(level: f32) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=8")]
    let filled = ((level + 48.0) / 6.0).clamp(0.0, 8.0) as usize;
    format!("[{}{}]", "=".repeat(filled), " ".repeat(8 - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_with_loudness() {
        assert_eq!(bar(-96.0), "[        ]");
        assert_eq!(bar(-24.0), "[====    ]");
        assert_eq!(bar(3.0), "[========]");
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let parts = ["00:16", "HOP: THE RELAY HEARS", "you [====    ]", "them [==      ]"].map(String::from);
        assert_eq!(fitting(&parts, 30), "00:16  HOP: THE RELAY HEARS");
        assert_eq!(fitting(&parts, 80), "00:16  HOP: THE RELAY HEARS  you [====    ]  them [==      ]");
    }
}
