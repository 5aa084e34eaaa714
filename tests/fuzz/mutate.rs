//! Makes new inputs from old ones.

/// Random numbers (splitmix64), the same for the same seed.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap().max(1);
        usize::try_from(self.any() % end).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.any().to_le_bytes()[0]
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    6,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x3ff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7f_ffff,
    0xff_ffff,
    0x0100_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// The same as words, for texts.
const WORDS: [&[u8]; 14] = [
    b"0",
    b"-1",
    b"1e400",
    b"NaN",
    b"+Inf",
    b"18446744073709551616",
    b"9223372036854775807",
    b"0x10",
    b"\n",
    b"\r\n",
    b"\0",
    "é".as_bytes(),
    "\u{2028}".as_bytes(),
    b"\xff\xfe",
];

/// Makes the inputs of one target.
pub struct Mutator {
    pub random: Random,
    pub words: &'static [&'static [u8]],
    pub longest: usize,
}

impl Mutator {
    /// One of `kept`, changed once or a few times.
    pub fn next(&mut self, kept: &[Vec<u8>]) -> Vec<u8> {
        let mut input = kept[self.random.below(kept.len())].clone();
        for _ in 0..1 << self.random.below(5) {
            self.change(&mut input, kept);
        }
        input.truncate(self.longest);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, kept: &[Vec<u8>]) {
        let at = self.random.below(input.len() + 1);
        match self.random.below(11) {
            0 => {
                let bit = 1 << self.random.below(8);
                input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
            }
            1 => {
                let new = self.random.byte();
                input.iter_mut().skip(at).take(1).for_each(|byte| *byte = new);
            }
            2 => {
                let new: Vec<u8> = (0..=self.random.below(8)).map(|_| self.random.byte()).collect();
                insert(input, at, &new);
            }
            3 => {
                let end = (at + 1 + self.random.below(16)).min(input.len());
                input.drain(at.min(end)..end);
            }
            4 => {
                let end = (at + 1 + self.random.below(32)).min(input.len());
                let again = input[at.min(end)..end].to_vec();
                insert(input, at, &again);
            }
            5 => {
                let other = &kept[self.random.below(kept.len())];
                let from = self.random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 => {
                let other = &kept[self.random.below(kept.len())];
                let from = self.random.below(other.len() + 1);
                let end = (from + 1 + self.random.below(64)).min(other.len());
                insert(input, at, &other[from..end]);
            }
            7 | 8 => {
                let words =
                    if self.words.is_empty() || self.random.below(4) == 0 { &WORDS } else { self.words };
                let word = self.random.pick(words);
                if self.random.below(2) == 0 { insert(input, at, word) } else { overwrite(input, at, word) }
            }
            9 => self.number(input, at),
            _ => input.truncate(at),
        }
    }

    /// A number as a length field of one to eight bytes, either way round, or one near the number that was there.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let width = 1 + self.random.below(8);
        let number = NUMBERS[self.random.below(NUMBERS.len())];
        let near = u64::try_from(self.random.below(5)).unwrap().wrapping_sub(2);
        let number = if self.random.below(2) == 0 { number } else { number.wrapping_add(near) };
        let big = number.to_be_bytes();
        let little = number.to_le_bytes();
        overwrite(input, at, if self.random.below(2) == 0 { &big[8 - width..] } else { &little[..width] });
    }
}

fn insert(input: &mut Vec<u8>, at: usize, new: &[u8]) {
    let tail = input.split_off(at);
    input.extend_from_slice(new);
    input.extend_from_slice(&tail);
}

fn overwrite(input: &mut [u8], at: usize, new: &[u8]) {
    input.iter_mut().skip(at).zip(new).for_each(|(old, new)| *old = *new);
}
