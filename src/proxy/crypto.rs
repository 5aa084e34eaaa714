//! What clients encrypt: RSA-OAEP wraps an AES key, AES-ECB the text, which is compressed with snappy's raw format.
//!
//! One key pair serves all connections: the Java proxy's pair per connection costs 0.1 s of a core each and made
//! clients wait beyond their 5 s. Why this library: `docs/adr/0006-proxy-crypto.md`.

pub mod key_file;
mod oaep;
pub mod pool;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use bytes::Bytes;

use super::wire::Payload;

/// One element of a snappy block makes at most 64 bytes out of 3; more is promised only by a bomb.
const SNAPPY_RATIO_MAX: usize = 22;

/// Why a payload could not be opened. The words go to the application's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// It has no metadata.
    #[error("not encrypted: there is no key in the metadata")]
    NotEncrypted,
    /// For another key, or damaged.
    #[error("the key in the metadata cannot be decrypted with this proxy's key")]
    Key,
    /// Damaged.
    #[error("the data cannot be decrypted with the key in the metadata")]
    Cipher,
    /// Truncated or damaged.
    #[error("the decrypted data is no block of snappy")]
    Compression,
    /// Too much text.
    #[error("{size} bytes of text are more than the allowed {limit}")]
    TooLarge {
        /// As promised by the block.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("the decompressed data is no UTF-8 text")]
    Text,
}

/// No key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable RSA key of 2048 bits or more in PKCS#8")]
pub struct KeyError;

/// The proxy's pair of keys.
#[derive(Debug)]
pub struct KeyPair {
    public: Bytes,
    private: oaep::PrivateKey,
}

impl KeyPair {
    /// Makes a pair of 2048 bits; takes 0.1 to 0.6 s, by luck. With it comes what [`Self::from_pkcs8`] reads.
    pub fn generate() -> Result<(Self, Vec<u8>), KeyError> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| KeyError)?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyError)?;
        Ok((Self::of(&key)?, der.as_ref().to_vec()))
    }

    /// Reads a pair from PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Self::of(&PrivateDecryptingKey::from_pkcs8(der).map_err(|_| KeyError)?)
    }

    fn of(key: &PrivateDecryptingKey) -> Result<Self, KeyError> {
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| KeyError)?;
        let private: Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyError)?;
        let private = oaep::PrivateKey::from_pkcs8(private.as_ref()).ok_or(KeyError)?;
        Ok(Self { public: Bytes::copy_from_slice(public.as_ref()), private })
    }

    /// The public half as clients want it: X.509 SubjectPublicKeyInfo, DER.
    pub fn public(&self) -> Bytes {
        self.public.clone()
    }

    /// The text in `payload`, at most `limit` bytes of it. Takes 0.7 ms of a core, nearly all for the key.
    pub fn open(&self, payload: &Payload, limit: usize) -> Result<String, OpenError> {
        let wrapped = payload.metadata.as_ref().ok_or(OpenError::NotEncrypted)?;
        let key = self.private.decrypt(wrapped).ok_or(OpenError::Key)?;
        let mut data = payload.data.to_vec();
        let block = decrypt(&key, &mut data)?;
        let text = decompress(block, limit)?;
        String::from_utf8(text).map_err(|_| OpenError::Text)
    }
}

fn decrypt<'a>(key: &[u8], data: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
    let algorithm: &'static Algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return Err(OpenError::Key),
    };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| OpenError::Key)?;
    let key = PaddedBlockDecryptingKey::ecb_pkcs7(key).map_err(|_| OpenError::Key)?;
    let block = key.decrypt(data, DecryptionContext::None).map_err(|_| OpenError::Cipher)?;
    Ok(block)
}

fn decompress(block: &[u8], limit: usize) -> Result<Vec<u8>, OpenError> {
    let size = snap::raw::decompress_len(block).map_err(|_| OpenError::Compression)?;
    if size > limit {
        return Err(OpenError::TooLarge { size, limit });
    }
    if size / SNAPPY_RATIO_MAX > block.len() {
        return Err(OpenError::Compression);
    }
    snap::raw::Decoder::new().decompress_vec(block).map_err(|_| OpenError::Compression)
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::cipher::PaddedBlockEncryptingKey;
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::captures;
    use crate::proxy::wire::{Frame, decode};

    const LIMIT: usize = 1 << 20;

    pub fn test_key() -> KeyPair {
        KeyPair::from_pkcs8(&captures::key()).unwrap()
    }

    /// As a client does it.
    pub fn seal(key: &KeyPair, text: &str) -> Payload {
        seal_block(key, &[9; 16], &snap::raw::Encoder::new().compress_vec(text.as_bytes()).unwrap())
    }

    fn seal_block(key: &KeyPair, aes: &[u8], block: &[u8]) -> Payload {
        let algorithm: &'static Algorithm = match aes.len() {
            16 => &AES_128,
            24 => &AES_192,
            _ => &AES_256,
        };
        let cipher = PaddedBlockEncryptingKey::ecb_pkcs7(UnboundCipherKey::new(algorithm, aes).unwrap());
        let mut data = block.to_vec();
        cipher.unwrap().encrypt(&mut data).unwrap();
        Payload { metadata: Some(key.private.encrypt(aes).unwrap().into()), data: data.into() }
    }

    #[test]
    fn what_every_client_version_sent_is_opened() {
        let key = test_key();
        let mut opened = 0;
        for (name, capture) in captures::vectors() {
            for known in capture.payloads.iter().filter(|p| p.text_len.is_some()) {
                let start = format!("{:08x}{}", known.stream, known.word);
                let sent = |f: &&captures::CapturedFrame| f.dir == "C>P" && f.hex.starts_with(&start);
                let frame = decode(captures::hex(&capture.frames.iter().find(sent).unwrap().hex)).unwrap();
                let (Frame::Payload { payload, .. }
                | Frame::RequestResponse { payload, .. }
                | Frame::RequestFnf { payload, .. }) = frame
                else {
                    panic!("{name}: {frame:?}")
                };
                let text = key.open(&payload, LIMIT).unwrap();
                assert_eq!(text.len(), known.text_len.unwrap(), "{name}");
                if let Some(known) = &known.text {
                    assert_eq!(&text, known, "{name}");
                }
                opened += 1;
            }
        }
        assert!(opened >= 9, "{opened}");
    }

    #[test]
    fn what_the_jdk_sealed_is_opened() {
        let (key, payload, text) = captures::jdk();
        assert_eq!(KeyPair::from_pkcs8(&key).unwrap().open(&payload, LIMIT), Ok(text));
    }

    #[test]
    fn the_public_key_is_what_the_recorded_proxy_sent() {
        let key = test_key();
        let (_, capture) = captures::vectors().remove(0);
        let sent = capture.frames.iter().find(|f| f.note.contains("key")).unwrap();
        assert_eq!(captures::hex(&sent.hex).slice(6..), key.public());
    }

    #[test]
    fn a_new_pair_opens_what_was_sealed_for_it_and_nothing_else() {
        let (key, other) = (KeyPair::generate().unwrap().0, test_key());
        assert_eq!(key.public().len(), 294);
        let sealed = seal(&key, "a_total 1\n");
        assert_eq!(key.open(&sealed, LIMIT), Ok("a_total 1\n".to_owned()));
        assert_eq!(other.open(&sealed, LIMIT), Err(OpenError::Key));
    }

    #[test]
    fn longer_aes_keys_are_taken() {
        let key = test_key();
        let block = snap::raw::Encoder::new().compress_vec(b"a 1\n").unwrap();
        for length in [16, 24, 32] {
            let sealed = seal_block(&key, &vec![3; length], &block);
            assert_eq!(key.open(&sealed, LIMIT), Ok("a 1\n".to_owned()), "{length}");
        }
        let odd =
            Payload { metadata: Some(key.private.encrypt(b"short").unwrap().into()), ..Payload::default() };
        assert_eq!(key.open(&odd, LIMIT), Err(OpenError::Key));
    }

    #[test]
    fn each_layer_tells_what_is_wrong_with_it() {
        let key = test_key();
        let good = seal(&key, "a 1\n");
        let plain = Payload { metadata: None, ..good.clone() };
        let short = Payload { data: good.data.slice(..7), ..good.clone() };
        let empty = Payload { data: Bytes::new(), ..good.clone() };
        let seal = |block: &[u8]| seal_block(&key, &[1; 16], block);
        for (payload, wanted) in [
            (plain, OpenError::NotEncrypted),
            (Payload { metadata: Some(Bytes::new()), ..good.clone() }, OpenError::Key),
            (Payload { metadata: Some(vec![1; 5000].into()), ..good }, OpenError::Key),
            (short, OpenError::Cipher),
            (empty, OpenError::Cipher),
            (seal(&[0x20, 0xFC]), OpenError::Compression),
            (seal(&[]), OpenError::Compression),
            // A bomb that is promised, and one that is hidden behind a small promise.
            (seal(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]), OpenError::TooLarge { size: 0xFFFF_FFFF, limit: LIMIT }),
            (seal(&[0x80, 0x80, 0x40]), OpenError::Compression),
            (seal(&[1, 0, 0xFF]), OpenError::Text),
        ] {
            assert_eq!(key.open(&payload, LIMIT), Err(wanted));
        }
    }

    #[test]
    fn a_text_of_exactly_the_limit_is_taken() {
        let key = test_key();
        let sealed = seal(&key, &"x".repeat(1000));
        assert_eq!(key.open(&sealed, 1000).unwrap().len(), 1000);
        assert_eq!(key.open(&sealed, 999), Err(OpenError::TooLarge { size: 1000, limit: 999 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_block_is_opened_or_refused(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let opened = decompress(&block, 4096);
            prop_assert!(opened.map_or(true, |text| text.len() <= 4096));
        }
    }
}
