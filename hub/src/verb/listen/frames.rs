//! Server-sent events out of the bytes of an answer, as they come.
//!
//! Source: WHATWG HTML, section 9.2.6 (Interpreting an event stream).

use anyhow::bail;

/// Longest event that is taken, in bytes; the platform bounds its own far below.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// One event of a stream. One without data tells only how far the stream is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// The position to come back to, when it is said.
    pub(super) id: Option<String>,
    /// Empty for an event without a name.
    pub(super) event: String,
    pub(super) data: String,
}

/// What has come of a stream and is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    line: Vec<u8>,
    /// The last byte was a CR, so an LF now belongs to it.
    after_cr: bool,
    /// Bytes of the frame so far.
    bytes: usize,
    frame: Frame,
}

impl Frames {
    /// The frames that these bytes complete. Fails when one is too long.
    pub(super) fn push(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Frame>> {
        let mut whole = Vec::new();
        for &byte in bytes {
            let ends = byte == b'\r' || (byte == b'\n' && !self.after_cr);
            let second_half = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            if ends {
                whole.extend(self.end_line());
            } else if !second_half {
                self.bytes += 1;
                if self.bytes > FRAME_BYTES_MAX {
                    bail!("the platform sent an event of more than {FRAME_BYTES_MAX} bytes");
                }
                self.line.push(byte);
            }
        }
        Ok(whole)
    }

    fn end_line(&mut self) -> Option<Frame> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.bytes = 0;
            let mut frame = std::mem::take(&mut self.frame);
            // Each line of data ends with a line feed, and the last one is taken off.
            frame.data.pop();
            return (frame != Frame::default()).then_some(frame);
        }
        let line = String::from_utf8_lossy(&line);
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.frame.event),
            "data" => {
                self.frame.data.push_str(value);
                self.frame.data.push('\n');
            }
            "id" if !value.contains('\0') => self.frame.id = Some(value.to_owned()),
            // Comments have an empty name. How long to wait is decided here, not by `retry`.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: Option<&str>, event: &str, data: &str) -> Frame {
        Frame { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() }
    }

    const STREAM: &str = ": following\nid: 4\nretry: 2000\n\n: heartbeat\n\nid:5\nevent: tenant.registered\ndata: {\"a\":\ndata:  1}\n\n\
                          data: Žižek\r\n\r\nevent: checkpoint\rid: 9\r\r";

    #[test]
    fn frames_come_out_whole_however_the_bytes_come_in() {
        let expected = vec![
            frame(Some("4"), "", ""),
            frame(Some("5"), "tenant.registered", "{\"a\":\n 1}"),
            frame(None, "", "Žižek"),
            frame(Some("9"), "checkpoint", ""),
        ];
        for size in [1, 2, 3, 7, STREAM.len()] {
            let mut frames = Frames::default();
            let pieces = STREAM.as_bytes().chunks(size);
            let whole: Vec<_> = pieces.flat_map(|piece| frames.push(piece).unwrap()).collect();
            assert_eq!(whole, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept_for_ever() {
        let mut frames = Frames::default();
        let piece = vec![b'a'; 1 << 20];
        let outcome = (0..5).try_for_each(|_| frames.push(&piece).map(drop));
        assert!(outcome.unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn lines_that_are_no_fields_say_nothing() {
        assert_eq!(Frames::default().push(b"data\nfoo: bar\nid\n\n").unwrap(), [frame(Some(""), "", "")]);
    }
}
