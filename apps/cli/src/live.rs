//! What is seen of a call while it goes on: one line that is drawn again, and keys.

use std::io::{IsTerminal, Write};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use undertone_client::Protection;
use undertone_client::engine::CallInfo;
use undertone_client::native::Status;

/// Nothing of the other side for so long is worth saying before the relay has noticed.
const QUIET_MS: u32 = 1_000;
/// Bytes of a typed command at most.
const MAX_TYPED: usize = 200;

/// What a person pressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    HangUp,
    Mute,
    Same,
    /// Who is in?
    Who,
    /// The space bar is held.
    Talk,
    /// What stands behind the colon so far; nothing when typing was given up.
    Typing(Option<String>),
    /// A whole command.
    Command(String),
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
                let mut keyboard = Keyboard::default();
                while let Ok(event) = crossterm::event::read() {
                    if let Some(key) = keyboard.press(&event)
                        && keys.blocking_send(key).is_err()
                    {
                        return;
                    }
                }
            });
        }
        (Self { shown, raw, _keys: keys }, received)
    }

    /// Draws the line: as many of the parts as fit. What a person is typing stands first.
    pub(crate) fn draw(&self, parts: &[String]) {
        if !self.shown {
            return;
        }
        // A line that wraps would scroll everything else away.
        let width = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        let line = fitting(parts, width.saturating_sub(1));
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

/// The parts of a call's line; what must be seen stands first. Without `info` it is an echo.
pub(crate) fn call_parts(
    seconds: u64,
    muted: bool,
    away: bool,
    info: Option<&CallInfo>,
    status: &Status,
) -> Vec<String> {
    let mut parts = vec![clock(seconds)];
    if info.is_some_and(|info| info.protection == Protection::Hop) {
        parts.push("HOP: THE RELAY HEARS".into());
    }
    if info.is_some_and(|info| !info.agreement.has_forward_secrecy()) {
        parts.push("RSA: NO FORWARD SECRECY".into());
    }
    parts.push(you(muted, status));
    parts.push(format!("{} {}", if info.is_some() { "them" } else { "echo" }, bar(status.level_in)));
    parts.extend(quality(away, status));
    if let Some(epoch) = info.and_then(|info| info.epoch) {
        parts.push(format!("blind, epoch {epoch}"));
    }
    parts
}

/// Minutes and seconds.
pub(crate) fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// What this device says, and whether anybody hears it.
pub(crate) fn you(muted: bool, status: &Status) -> String {
    let level = if muted { -96.0 } else { status.level_out };
    format!("you {}{}", bar(level), if muted { " muted" } else { "" })
}

/// How well it is heard.
pub(crate) fn quality(away: bool, status: &Status) -> [String; 3] {
    let word = match status.loss_percent {
        _ if away => "away",
        _ if status.quiet_ms > QUIET_MS => "nothing comes",
        loss if loss < 2.0 => "good",
        loss if loss < 8.0 => "fair",
        _ => "poor",
    };
    [word.into(), format!("{:.0}% lost", status.loss_percent), format!("{:.0} ms", status.latency_ms)]
}

/// Makes keys of what is pressed, and a command of what is typed behind a colon.
#[derive(Debug, Default)]
struct Keyboard {
    typed: Option<String>,
}

impl Keyboard {
    fn press(&mut self, event: &Event) -> Option<Key> {
        let Event::Key(pressed) = event else { return None };
        let control = pressed.modifiers.contains(KeyModifiers::CONTROL);
        let Some(typed) = self.typed.as_mut().filter(|_| pressed.kind == KeyEventKind::Press && !control) else {
            if key(event).is_none() && matches!(pressed.code, KeyCode::Char(':' | '/')) {
                self.typed = Some(String::new());
                return Some(Key::Typing(Some(String::new())));
            }
            return key(event);
        };
        match pressed.code {
            KeyCode::Enter => self.typed.take().map(Key::Command),
            KeyCode::Esc => {
                self.typed = None;
                Some(Key::Typing(None))
            }
            KeyCode::Backspace => {
                typed.pop();
                Some(Key::Typing(Some(typed.clone())))
            }
            KeyCode::Char(c) if typed.len() < MAX_TYPED => {
                typed.push(c);
                Some(Key::Typing(Some(typed.clone())))
            }
            _ => None,
        }
    }
}

fn key(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    let held = key.kind == KeyEventKind::Repeat && key.code == KeyCode::Char(' ');
    if key.kind != KeyEventKind::Press && !held {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::HangUp),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::HangUp),
        KeyCode::Char('m' | 'M') => Some(Key::Mute),
        KeyCode::Char('v' | 'V') => Some(Key::Same),
        KeyCode::Char('w' | 'W') => Some(Key::Who),
        KeyCode::Char(' ') => Some(Key::Talk),
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
pub(crate) fn bar(level: f32) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=8")]
    let filled = ((level + 48.0) / 6.0).clamp(0.0, 8.0) as usize;
    format!("[{}{}]", "=".repeat(filled), " ".repeat(8 - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_typed_behind_a_colon() {
        let mut keyboard = Keyboard::default();
        let mut press = |code| keyboard.press(&Event::Key(code_only(code)));
        assert_eq!(press(KeyCode::Char('m')), Some(Key::Mute));
        assert_eq!(press(KeyCode::Char(':')), Some(Key::Typing(Some(String::new()))));
        for c in "mute bobx".chars() {
            assert!(matches!(press(KeyCode::Char(c)), Some(Key::Typing(Some(_)))));
        }
        press(KeyCode::Backspace);
        assert_eq!(press(KeyCode::Enter), Some(Key::Command("mute bob".into())));
        assert_eq!(press(KeyCode::Char('m')), Some(Key::Mute));
        press(KeyCode::Char('/'));
        assert_eq!(press(KeyCode::Esc), Some(Key::Typing(None)));
        assert_eq!(press(KeyCode::Char('q')), Some(Key::HangUp));
    }

    fn code_only(code: KeyCode) -> crossterm::event::KeyEvent {
        crossterm::event::KeyEvent::new(code, KeyModifiers::NONE)
    }

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
