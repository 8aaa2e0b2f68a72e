//! IP addresses and blocks inside patterns.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Text that is an IP address. Leading zeros of an octet are decimal (decisions.md 52); an
/// IPv4-mapped address counts as the IPv4 address it names, so both spellings meet.
pub fn parse(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return match text.parse::<Ipv6Addr>().ok()? {
            _ if text.contains('.') => None,
            v6 => Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)),
        };
    }
    if text.len() > 15 {
        return None;
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))?;
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    bits: u128,
    mask: u128,
    is_v4: bool,
}

impl Cidr {
    /// Parses `address/mask`. `Err` says what is wrong with it, for [`super::pattern::PatternError`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, mask) = text.split_once('/').ok_or("a cidr needs exactly one / between address and mask")?;
        let mask: u32 = match mask.bytes().all(|b| b.is_ascii_digit()) {
            true => mask.parse().map_err(|_| "the mask of a cidr is a small whole number")?,
            false => return Err("the mask of a cidr is a small whole number".to_owned()),
        };
        if address.contains(':') && address.parse::<Ipv6Addr>().is_ok_and(|v6| v6.to_ipv4_mapped().is_some()) {
            return Err("an IPv4-mapped address is refused in a cidr; write the IPv4 block".to_owned());
        }
        let address = parse(address).ok_or_else(|| format!("{address:?} is not an IP address"))?;
        let (width, is_v4) = if address.is_ipv4() { (32, true) } else { (128, false) };
        if mask >= width {
            return Err(format!("the mask /{mask} is not in 0..={}; for one address write the address itself", width - 1));
        }
        let mask = if mask == 0 { 0 } else { u128::MAX << (width - mask) };
        Ok(Self { bits: bits(address) & mask, mask, is_v4 })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_v4 && bits(address) & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_meet_whatever_their_spelling() {
        for (a, b) in
            [("10.0.0.1", "010.000.000.001"), ("::1", "0:0:0:0:0:0:0:1"), ("2001:DB8::1", "2001:db8:0::1"), ("::ffff:a00:1", "10.0.0.1")]
        {
            assert!(parse(a).is_some(), "{a}");
            assert_eq!(parse(a), parse(b), "{a} {b}");
        }
        for text in ["", "10.0.0", "10.0.0.256", "10.0.0.1.2", "1..2.3", "0000010.0.0.0.1", "+1.0.0.1", "::ffff:10.0.0.1", "x::1", ":"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn blocks_hold_their_own_family_only() {
        let holds = |cidr: &str, address: &str| Cidr::parse(cidr).expect(cidr).contains(parse(address).expect(address));
        assert!(holds("10.0.0.0/24", "10.0.0.255"));
        assert!(!holds("10.0.0.0/24", "10.0.1.0"));
        assert!(holds("10.0.0.33/24", "10.0.0.1"), "the base is masked");
        assert!(holds("0.0.0.0/0", "255.1.2.3"));
        assert!(!holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::"));
        assert!(!holds("::/0", "1.2.3.4"));
        assert!(holds("10.0.0.0/31", "10.0.0.1"));
    }

    #[test]
    fn single_addresses_and_malformed_blocks_are_refused() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/32",
            "::1/128",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::ffff:a00:1/120",
            "x/8",
            "/8",
            "10.0.0.0/",
        ] {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
    }
}
