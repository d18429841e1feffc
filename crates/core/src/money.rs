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

    /// The sum; `None` when that is more than 64 bits hold.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` when that is more, or less, than 64 bits hold.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
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

    #[test]
    fn sums_and_differences_refuse_what_they_cannot_hold() {
        let (one, most) = (Money::from_minor(1), Money::from_minor(i64::MAX));
        assert_eq!(one.plus(one), Some(Money::from_minor(2)));
        assert_eq!(most.plus(one), None);
        assert_eq!(Money::ZERO.minus(one), Some(Money::from_minor(-1)));
        assert_eq!(Money::from_minor(i64::MIN).minus(one), None);
    }
}
