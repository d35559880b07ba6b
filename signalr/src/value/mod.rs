//! Values that the two protocols write in different ways.

mod binary;
mod timestamp;

pub use self::{
    binary::Binary,
    timestamp::{Timestamp, TimestampError},
};
