//! The key pair on disk, so that only the very first start waits for a new one, and clients of a proxy that was
//! restarted find the key that they have (`docs/adr/0006-proxy-crypto.md`).

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::{KeyError, KeyPair};

/// In the proxy's folder: PKCS#8, DER.
pub const NAME: &str = "key.der";
const NEW: &str = "key.der.new";
/// A larger file is no key of ours.
const LONGEST: u64 = 16 << 10;
/// Only for the proxy. A volume's `fsGroup` may widen it to the group.
const MODE: u32 = 0o600;

impl KeyPair {
    /// The pair in `folder`; a new one if there is none or it cannot be used. A folder that cannot be written to is a
    /// warning: the pair then lives as long as the process.
    pub fn kept_in(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(NAME);
        match read(&path) {
            Ok(der) => match Self::from_pkcs8(&der) {
                Ok(pair) => return Ok(pair),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "the key is damaged and is replaced");
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the key cannot be read and is replaced");
            }
        }
        let (pair, der) = Self::generate()?;
        if let Err(error) = write(folder, &der) {
            tracing::warn!(file = %path.display(), %error, "the key cannot be kept; the next start makes a new one");
        }
        Ok(pair)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a key"));
    }
    fs::read(path)
}

/// Either the old file is there after power loss, or the whole new one.
fn write(folder: &Path, der: &[u8]) -> io::Result<()> {
    let new = folder.join(NEW);
    let mut file = File::options().write(true).create(true).truncate(true).mode(MODE).open(&new)?;
    // One that was left behind keeps its mode otherwise.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(der)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("millrace-key-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_second_start_finds_the_key_of_the_first() {
        let folder = Folder::new("second");
        let first = KeyPair::kept_in(&folder.0).unwrap();
        assert_eq!(KeyPair::kept_in(&folder.0).unwrap().public(), first.public());
        let names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [NAME]);
        let mode = fs::metadata(folder.0.join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_replaced_and_kept() {
        let folder = Folder::new("damaged");
        KeyPair::kept_in(&folder.0).unwrap();
        let mut der = fs::read(folder.0.join(NAME)).unwrap();
        der.truncate(700);
        let too_long = vec![0; 20_000];
        for damaged in [&b""[..], &der, &too_long] {
            fs::write(folder.0.join(NAME), damaged).unwrap();
            let new = KeyPair::kept_in(&folder.0).unwrap();
            assert_eq!(KeyPair::kept_in(&folder.0).unwrap().public(), new.public());
        }
    }

    #[test]
    fn without_a_folder_there_is_a_key_all_the_same() {
        let folder = Folder::new("none");
        KeyPair::kept_in(&folder.0.join("is/not/there")).unwrap();
    }
}
