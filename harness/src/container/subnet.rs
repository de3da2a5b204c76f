//! The addresses of a network.

use std::net::Ipv4Addr;
use std::str::FromStr;

/// The addresses of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    base: Ipv4Addr,
    bits: u32,
}

/// Returned when a text names no subnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no subnet: expected one such as 172.18.0.0/16")]
pub(super) struct NoSubnet(String);

impl Subnet {
    /// The address of the container with this number, counted from 0. The first address is the host's. `None` if the
    /// subnet is too small.
    pub(super) fn address(self, number: u32) -> Option<Ipv4Addr> {
        let size = 1_u64 << (32 - self.bits);
        // The base and the last address are nobody's.
        let offset = number.checked_add(2).filter(|offset| u64::from(*offset) < size - 1)?;
        Some(Ipv4Addr::from_bits(self.base.to_bits() + offset))
    }
}

impl FromStr for Subnet {
    type Err = NoSubnet;

    fn from_str(text: &str) -> Result<Self, NoSubnet> {
        let read = || {
            let (base, bits) = text.split_once('/')?;
            let (base, bits): (Ipv4Addr, u32) = (base.parse().ok()?, bits.parse().ok()?);
            let is_base = (1..=30).contains(&bits) && base.to_bits().trailing_zeros() >= 32 - bits;
            is_base.then_some(Subnet { base, bits })
        };
        read().ok_or_else(|| NoSubnet(text.to_owned()))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_numbered_from_the_second_address() {
        let subnet: Subnet = "172.18.0.0/16".parse().unwrap();
        assert_eq!(subnet.address(0), Some(Ipv4Addr::new(172, 18, 0, 2)));
        assert_eq!(subnet.address(254), Some(Ipv4Addr::new(172, 18, 1, 0)));
        assert_eq!(subnet.to_string(), "172.18.0.0/16");
    }

    #[test]
    fn a_full_subnet_has_no_address_left() {
        let subnet: Subnet = "10.0.0.8/29".parse().unwrap();
        assert_eq!(subnet.address(4), Some(Ipv4Addr::new(10, 0, 0, 14)));
        assert_eq!(subnet.address(5), None);
        assert_eq!(subnet.address(u32::MAX), None);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.1/24", "fd00::/64", "10.0.0.0/x"] {
            assert_eq!(text.parse::<Subnet>(), Err(NoSubnet(text.to_owned())), "{text}");
        }
    }
}
