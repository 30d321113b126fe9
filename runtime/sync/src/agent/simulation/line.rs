//! The line between a node and the centre, and all that can be wrong with it.

use std::io::{self, Cursor, Read};
use std::sync::Mutex;

use super::Random;
use crate::feed::testing::{Files, Memory, read};
use crate::remote::{Ask, Body, Fetched, Remote, RemoteError, RemoteErrorKind};

/// What lies between a node and the centre.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// Nothing is reached.
    pub(super) cut: bool,
    /// How many reads in a hundred go wrong.
    pub(super) trouble: u64,
    /// A mirror that stands still, or goes back.
    pub(super) stale: Option<Files>,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) memory: Memory,
    pub(super) weather: Mutex<Weather>,
    pub(super) random: Mutex<Random>,
}

/// Bytes, then an error.
struct Breaks(Cursor<Vec<u8>>);

impl Read for Breaks {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            read => Ok(read),
        }
    }
}

impl Remote for Line {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        let unreachable = || RemoteError::new(RemoteErrorKind::Unreachable, path, "no answer");
        let weather = self.weather.lock().unwrap();
        let mut random = self.random.lock().unwrap();
        if weather.cut {
            return Err(unreachable());
        }
        let fetched = match &weather.stale {
            Some(files) => read(files, path, ask),
            None => self.memory.read(path, ask),
        };
        if random.below(100) >= weather.trouble {
            return fetched;
        }
        let Fetched::Body(mut body) = fetched? else {
            return Err(unreachable());
        };
        let mut bytes = Vec::new();
        body.bytes.read_to_end(&mut bytes).unwrap();
        let at = random.below(bytes.len() as u64) as usize;
        let bytes: Box<dyn Read + Send> = match random.below(5) {
            0 => return Err(unreachable()),
            1 => Box::new(Breaks(Cursor::new(bytes[..at].to_vec()))),
            2 => Box::new(Cursor::new(bytes[..at].to_vec())),
            3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
                Box::new(Cursor::new(bytes))
            }
            _ => {
                let again = bytes[at..].to_vec();
                Box::new(Cursor::new(bytes).chain(Cursor::new(again)))
            }
        };
        Ok(Fetched::Body(Body { bytes, ..body }))
    }

    fn location(&self) -> String {
        "simulated".to_owned()
    }
}
