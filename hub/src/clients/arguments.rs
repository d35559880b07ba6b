use erased_serde::Serialize as Argument;
use serde::Serialize;

/// The arguments of a message to clients.
///
/// A reference is one argument, a tuple is several, `()` is none: `send("Status", &status)`,
/// `send("Moved", (x, y))`, `send("Refresh", ())`. A reference to a tuple is one argument, an array.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the arguments of a message",
    note = "pass one argument by reference (`&value`), several as a tuple of up to 8 (`(a, b)`), or none as `()`; each must implement `serde::Serialize`"
)]
pub trait Arguments {
    /// Calls `take` with the arguments in their order.
    fn with<R>(self, take: impl FnOnce(&[&dyn Argument]) -> R) -> R;
}

impl<T: Serialize + ?Sized> Arguments for &T {
    fn with<R>(self, take: impl FnOnce(&[&dyn Argument]) -> R) -> R {
        take(&[&self])
    }
}

impl Arguments for () {
    fn with<R>(self, take: impl FnOnce(&[&dyn Argument]) -> R) -> R {
        take(&[])
    }
}

macro_rules! tuples {
    ($(($($name:ident)+),)+) => {$(
        #[allow(non_snake_case, reason = "one name serves as type and as variable")]
        impl<$($name: Serialize),+> Arguments for ($($name,)+) {
            fn with<R>(self, take: impl FnOnce(&[&dyn Argument]) -> R) -> R {
                let ($($name,)+) = self;
                take(&[$(&$name),+])
            }
        }
    )+};
}

tuples! {
    (A),
    (A B),
    (A B C),
    (A B C D),
    (A B C D E),
    (A B C D E F),
    (A B C D E F G),
    (A B C D E F G H),
}
