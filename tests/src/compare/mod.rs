//! Which transport gets through which fault, side by side: the library under `compare`.
//!
//! A [`Plan`] says what is run; [`measure`] runs it on a [`Bench`] and fills a [`Report`]; [`overview`]
//! and [`details`] print it, [`page`] draws it, [`findings`] and [`check`] judge it. [`Arguments`] has
//! the command line, and [`perform`] does all that in turn.

mod arguments;
mod bench;
mod check;
mod digest;
mod finding;
pub mod format;
mod machine;
pub mod page;
mod perform;
mod plan;
mod printed;
mod progress;
mod report;
mod session;
mod stand;
mod summary;
pub mod table;

pub use arguments::{Arguments, listed};
pub use bench::{Bench, Case, Choice, Load, Menu};
pub use check::{Checked, check};
pub use digest::{Digest, Row};
pub use finding::{Finding, findings};
pub use machine::{Machine, Versions};
pub use perform::{CompareError, Verdict, perform};
pub use plan::{Plan, PlanError, Planned, Selection};
pub use printed::{details, overview};
pub use progress::{Pace, Progress};
pub use report::{Described, FILE, Found, Missing, Report, ReportError};
pub use session::{INTERRUPTED, measure};
pub use stand::Stand;
pub use summary::{Remark, Summary, Worst};

#[cfg(test)]
mod tests;
