/// The hub keeps no presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the hub keeps no presence: turn it on where the hub is built, with .presence(PresenceOptions::default())"
)]
pub struct PresenceOff;
