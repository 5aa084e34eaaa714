//! Amounts as Kubernetes writes them: `1.5Gi`, `500m`, `1e3`.

/// Units and what they multiply by, in billionths, longest first where one ends like another.
const UNITS: [(&str, i128); 15] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("m", -1_000),
    ("u", -1_000_000),
    ("n", -1_000_000_000),
];
const BILLION: i128 = 1_000_000_000;

/// An amount in billionths, so that `1000m` and `1` are the same; `None` where `text` is none.
pub fn billionths(text: &str) -> Option<i128> {
    let unit = UNITS.iter().find_map(|(unit, times)| Some((text.strip_suffix(unit)?, *times)));
    match unit {
        Some((number, times)) if times < 0 => decimal(number)?.checked_div(-times),
        Some((number, times)) => decimal(number)?.checked_mul(times),
        None => match text.split_once(['e', 'E']) {
            Some((number, exponent)) => {
                let exponent = exponent.parse::<u32>().ok()?;
                decimal(number)?.checked_mul(10_i128.checked_pow(exponent)?)
            }
            None => decimal(text),
        },
    }
}

/// Whole bytes of an amount.
pub fn bytes(text: &str) -> Option<i64> {
    i64::try_from(billionths(text)? / BILLION).ok()
}

/// `12.5` in billionths.
fn decimal(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let parts = format!("{fraction:0<9}").parse::<i128>().ok()?;
    whole.parse::<i128>().ok()?.checked_mul(BILLION)?.checked_add(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_as_amounts() {
        for (a, b) in [("1000m", "1"), ("1Gi", "1024Mi"), ("1.5k", "1500"), ("1e3", "1k"), ("0.5", "500m")] {
            assert_eq!(billionths(a), billionths(b), "{a} {b}");
            assert!(billionths(a).is_some());
        }
        assert_ne!(billionths("1G"), billionths("1Gi"));
        for wrong in ["", "Gi", "1 Gi", "-1", "1.2.3", "1e99", "x"] {
            assert_eq!(billionths(wrong), None, "{wrong}");
        }
        assert_eq!(bytes("8Gi"), Some(8 << 30));
    }
}
