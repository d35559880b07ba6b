//! What the tests send around.

use std::time::{Duration, UNIX_EPOCH};

use backplane_signalr::{Binary, Timestamp};
use serde::{Deserialize, Serialize};

/// The beginning of the year 2000, since 1970.
const NEW_YEAR_2000: Duration = Duration::from_secs(946_684_800);

/// One property of each type that the clients know. Their names are the original's, as they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ComplexObject {
    byte_array: Binary,
    date_time: Timestamp,
    guid: String,
    int_array: Vec<i32>,
    string: String,
}

/// What a client has sent back to it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CustomObject {
    name: String,
    value: i32,
}

impl ComplexObject {
    /// The one that the tests know.
    pub(crate) fn known() -> Self {
        Self {
            byte_array: vec![1, 2, 3].into(),
            date_time: (UNIX_EPOCH + NEW_YEAR_2000).into(),
            guid: "00010203-0405-0607-0706-050403020100".to_owned(),
            int_array: vec![1, 2, 3],
            string: "hello world".to_owned(),
        }
    }
}
