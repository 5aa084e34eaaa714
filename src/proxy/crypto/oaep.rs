//! RSA-OAEP with SHA-256 for the label and SHA-1 in MGF1: what Java means by `OAEPWithSHA-256AndMGF1Padding` without
//! parameters, and so what every client sends.
//!
//! The safe interface of the library has only equal hashes; this is the one place that calls the library under it.
#![allow(unsafe_code, reason = "the safe interface cannot choose MGF1's hash")]

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

/// An RSA private key.
#[derive(Debug)]
pub struct PrivateKey(NonNull<sys::EVP_PKEY>);

// SAFETY: the key is never changed after it was made, and the library allows operations of several threads on one
// `EVP_PKEY` as long as none changes it ("Thread safety" in its `evp.h`).
unsafe impl Send for PrivateKey {}
// SAFETY: as above.
unsafe impl Sync for PrivateKey {}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        // SAFETY: made by the library, owned here, freed once.
        unsafe { sys::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

/// One operation with a key; freed on every way out.
struct Operation(NonNull<sys::EVP_PKEY_CTX>);

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: made by the library, owned here, freed once.
        unsafe { sys::EVP_PKEY_CTX_free(self.0.as_ptr()) }
    }
}

type Init = unsafe extern "C" fn(*mut sys::EVP_PKEY_CTX) -> std::ffi::c_int;
type Run =
    unsafe extern "C" fn(*mut sys::EVP_PKEY_CTX, *mut u8, *mut usize, *const u8, usize) -> std::ffi::c_int;

impl PrivateKey {
    /// Reads PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let mut input = sys::CBS { data: der.as_ptr(), len: der.len() };
        // SAFETY: `input` covers `der`, which lives longer than the call; the library checks what it reads.
        let key = unsafe { sys::EVP_parse_private_key(&raw mut input) };
        let key = Self(NonNull::new(key)?);
        // SAFETY: a valid key.
        (unsafe { sys::EVP_PKEY_id(key.0.as_ptr()) } == sys::EVP_PKEY_RSA).then_some(key)
    }

    /// What was encrypted for this key; `None` if it was not, or was damaged.
    pub fn decrypt(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.run(sys::EVP_PKEY_decrypt_init, sys::EVP_PKEY_decrypt, bytes)
    }

    /// As a client does it.
    #[cfg(test)]
    pub fn encrypt(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.run(sys::EVP_PKEY_encrypt_init, sys::EVP_PKEY_encrypt, bytes)
    }

    fn run(&self, init: Init, run: Run, bytes: &[u8]) -> Option<Vec<u8>> {
        // SAFETY: a valid key; the context takes a reference of its own.
        let operation = unsafe { sys::EVP_PKEY_CTX_new(self.0.as_ptr(), ptr::null_mut()) };
        let operation = Operation(NonNull::new(operation)?);
        let context = operation.0.as_ptr();
        // SAFETY: a valid key; static hashes; `out` has the room that is told, which is the key's whole size.
        unsafe {
            let size = usize::try_from(sys::EVP_PKEY_size(self.0.as_ptr())).ok()?;
            let ready = init(context) == 1
                && sys::EVP_PKEY_CTX_set_rsa_padding(context, sys::RSA_PKCS1_OAEP_PADDING) == 1
                && sys::EVP_PKEY_CTX_set_rsa_oaep_md(context, sys::EVP_sha256()) == 1
                && sys::EVP_PKEY_CTX_set_rsa_mgf1_md(context, sys::EVP_sha1()) == 1;
            let (mut out, mut length) = (vec![0; size], size);
            let done =
                ready && run(context, out.as_mut_ptr(), &raw mut length, bytes.as_ptr(), bytes.len()) == 1;
            // Else the thread's queue of errors keeps it.
            sys::ERR_clear_error();
            out.truncate(length);
            done.then_some(out)
        }
    }
}
