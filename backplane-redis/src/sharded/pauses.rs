use std::time::Duration;

/// The pauses between attempts at what a cluster that is changing refuses: none at first, then doubling.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    const SHORTEST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(100);

    pub(super) async fn pause(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).clamp(Self::SHORTEST, Self::LONGEST);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}
