//! Conversations of real clients, recorded (`tests/captures`).

use bytes::Bytes;
use serde::Deserialize;

use super::wire::Payload;

#[derive(Deserialize)]
pub struct Capture {
    pub frames: Vec<CapturedFrame>,
    #[serde(default)]
    pub payloads: Vec<CapturedPayload>,
}

#[derive(Deserialize)]
pub struct CapturedFrame {
    pub dir: String,
    pub note: String,
    pub hex: String,
}

#[derive(Deserialize)]
pub struct CapturedPayload {
    pub stream: u32,
    pub word: String,
    pub text_len: Option<usize>,
    pub text: Option<String>,
}

/// All recorded by a stand-in proxy whose key is known.
pub fn vectors() -> Vec<(&'static str, Capture)> {
    [
        ("2.7, 1.3.0", include_str!("../../tests/captures/vectors-b27old.json")),
        ("2.7", include_str!("../../tests/captures/vectors-b27.json")),
        ("3.2", include_str!("../../tests/captures/vectors-b32.json")),
        ("3.5", include_str!("../../tests/captures/vectors-b35.json")),
        ("3.5, plain text", include_str!("../../tests/captures/vectors-b35-plaintext.json")),
        ("fnf", include_str!("../../tests/captures/vectors-client1.5.3-pushAndClose-fnf.json")),
    ]
    .map(|(name, json)| (name, serde_json::from_str(json).unwrap()))
    .into()
}

/// Of the stand-in proxy, PKCS#8.
pub fn key() -> Vec<u8> {
    let json: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/captures/fake-proxy-key.json")).unwrap();
    base64(json["pkcs8_der_base64"].as_str().unwrap())
}

/// Made with the JDK alone: key, payload, text.
pub fn jdk() -> (Vec<u8>, Payload, String) {
    let json: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/captures/vector-jdk17.json")).unwrap();
    let part = |name: &str| base64(json[name].as_str().unwrap());
    let payload =
        Payload { metadata: Some(part("metadata_base64").into()), data: part("data_base64").into() };
    (part("pkcs8_der_base64"), payload, json["text"].as_str().unwrap().to_owned())
}

/// Between real clients and the Java proxy: direction, words of the recorder, bytes.
pub fn java_proxy() -> Vec<(bool, &'static str, Bytes)> {
    [
        include_str!("../../tests/captures/javaproxy-b27-client1.5.3.txt"),
        include_str!("../../tests/captures/javaproxy-b32-client1.5.3-websocket.txt"),
        include_str!("../../tests/captures/javaproxy-b35-client2.0.0-RC1.txt"),
    ]
    .into_iter()
    .flat_map(|text| text.lines().map(move |line| (text.contains(" ws("), line)))
    .filter_map(|(websocket, line)| {
        let (words, bytes) = line.split_once(" | ")?;
        (words.contains(" stream=")).then(|| (websocket, words, hex(bytes)))
    })
    .collect()
}

pub fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

pub fn base64(text: &str) -> Vec<u8> {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut held, mut bits, mut out) = (0_usize, 0, Vec::new());
    for value in text.chars().filter_map(|c| letters.find(c)) {
        (held, bits) = (held << 6 | value, bits + 6);
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xFF).unwrap());
            held &= (1 << bits) - 1;
        }
    }
    out
}
