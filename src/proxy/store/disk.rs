//! The little that the log wants of a file system, so that tests can take its place.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// A directory.
pub trait Disk: Send + Sync + 'static {
    /// Names of its files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A file's content.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// A new, empty file. It survives power loss under its name when this returns.
    fn create(&self, name: &str) -> io::Result<Box<dyn Append>>;
    /// Removes a file. It may be there again after power loss.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A file that only grows.
pub trait Append: Send {
    /// Adds to its end. After an error any part may have been added.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when what was added survives power loss. After an error nothing is known about it (fsyncgate).
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes it if it is not there.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }
}

impl Disk for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let file = File::options().write(true).create_new(true).open(self.path.join(name))?;
        // The name is durable only once the directory is.
        File::open(&self.path)?.sync_all()?;
        Ok(Box::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }
}

impl Append for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
