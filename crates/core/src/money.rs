//! Money: whole minor units of the installation's one currency.

/// An amount in minor units (cents, kopecks); `Money::from_minor(40)` is forty of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// The amount of this many minor units.
    pub const fn from_minor(minor: i64) -> Self {
        Self(minor)
    }

    /// The amount in minor units.
    pub const fn as_minor(self) -> i64 {
        self.0
    }

    /// Whether nothing is due.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This amount `count` times; `None` when that is more than 64 bits hold.
    pub fn times(self, count: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(count)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplication_refuses_what_it_cannot_hold() {
        assert_eq!(Money::from_minor(40).times(3), Some(Money::from_minor(120)));
        assert_eq!(Money::from_minor(i64::MAX).times(1), Some(Money::from_minor(i64::MAX)));
        assert_eq!(Money::from_minor(i64::MAX / 2).times(3), None);
        assert_eq!(Money::ZERO.times(u32::MAX), Some(Money::ZERO));
    }
}
