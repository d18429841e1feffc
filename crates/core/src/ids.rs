//! Identifiers: 64-bit whole numbers given out by the store, rising, never used twice.
//!
//! Each kind has its own type, so that a user's number can't be passed where an event's is meant.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// The identifier with this number.
            pub const fn new(number: i64) -> Self {
                Self(number)
            }

            /// The number as stores and clients write it.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A user's number.
    UserId
}
id! {
    /// An event's number.
    EventId
}
id! {
    /// A booking's number.
    BookingId
}
