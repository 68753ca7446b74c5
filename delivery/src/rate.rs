//! At most so many deliveries each second: a bucket of tokens, as many as a second has.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket that fills by itself.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: u16, now: Instant) -> Self {
        Self { per_second: per_second.into(), tokens: per_second.into(), filled_at: now }
    }

    /// Takes a token, or answers when there will be one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.per_second);
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Bucket;

    #[test]
    fn a_second_has_so_many_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        for _ in 0..10 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        let next = bucket.take(start).unwrap_err();
        assert!(next > start && next <= start + Duration::from_millis(101));
        assert_eq!(bucket.take(next), Ok(()));
        assert!(bucket.take(next).is_err());
    }

    #[test]
    fn a_long_silence_saves_up_one_second_only() {
        let start = Instant::now();
        let mut bucket = Bucket::new(5, start);
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..9).filter(|_| bucket.take(later).is_ok()).count(), 5);
    }
}
