//! Waiting for something that will be true soon, with an end.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Asks every 20 ms until the answer is `Some`, and returns what is in it.
///
/// # Panics
/// When there is no answer within `limit`.
///
/// ```ignore
/// let row = eventually(Duration::from_secs(5), async || read_row(&pool).await).await;
/// ```
pub async fn eventually<T>(limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        match tokio::time::timeout(left.max(POLL), ask()).await {
            Ok(Some(answer)) => return answer,
            Ok(None) if started.elapsed() < limit => tokio::time::sleep(POLL).await,
            Ok(None) => panic!("it did not become true within {limit:?}"),
            Err(_) => panic!("it did not become true within {limit:?}; the last question is still open"),
        }
    }
}
