//! Hashes that prove a whole file, computed while it streams.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::digest::{Digest as _, DynDigest};

/// In the order of their strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// What Git names a file by: SHA-1 of `blob LENGTH`, a zero byte, and the bytes.
    GitBlob,
    Sha256,
    Sha384,
    Sha512,
}

const ALGORITHMS: [(Algorithm, &str, usize); 4] = [
    (Algorithm::GitBlob, "git", 20),
    (Algorithm::Sha256, "sha256", 32),
    (Algorithm::Sha384, "sha384", 48),
    (Algorithm::Sha512, "sha512", 64),
];

impl Algorithm {
    fn name(self) -> &'static str {
        ALGORITHMS[self as usize].1
    }

    fn start(self, file_bytes: u64) -> Box<dyn DynDigest> {
        match self {
            Algorithm::GitBlob => Box::new(sha1::Sha1::new_with_prefix(format!("blob {file_bytes}\0"))),
            Algorithm::Sha256 => Box::new(sha2::Sha256::new()),
            Algorithm::Sha384 => Box::new(sha2::Sha384::new()),
            Algorithm::Sha512 => Box::new(sha2::Sha512::new()),
        }
    }
}

/// A file's hash; as text `sha256:9f86d0…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest {
    pub algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// `None` if this is no hash of that kind in hexadecimal digits.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Option<Digest> {
        let (_, _, bytes) = ALGORITHMS[algorithm as usize];
        let right = hex.len() == 2 * bytes && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        right.then(|| Digest {
            algorithm,
            hex: hex.to_ascii_lowercase(),
        })
    }

    fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Digest { algorithm, hex }
    }

    /// The strongest hash of a Subresource Integrity string: `sha384-BASE64`, several with spaces between, options ignored.
    pub fn from_sri(text: &str) -> Option<Digest> {
        let parse = |part: &str| {
            let (name, encoded) = part.split_once('-')?;
            let &(algorithm, _, length) = ALGORITHMS[1..].iter().find(|(_, known, _)| *known == name)?;
            let encoded = encoded.split('?').next()?;
            let bytes = base64::decode(encoded).ok().filter(|bytes| bytes.len() == length)?;
            Some(Digest::from_bytes(algorithm, &bytes))
        };
        let parsed: Option<Vec<Digest>> = text.split_ascii_whitespace().map(parse).collect();
        parsed?.into_iter().max_by_key(|digest| digest.algorithm)
    }

    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Digest, &'static str> {
        let (name, hex) = text.split_once(':').ok_or("no hash")?;
        let known = ALGORITHMS.iter().find(|(_, known, _)| *known == name);
        let (algorithm, ..) = known.ok_or("no hash that is known here")?;
        Digest::from_hex(*algorithm, hex).ok_or("not as long as such a hash is")
    }
}

/// Hashes of a file under way, fed chunk by chunk from the first one on.
pub struct Running {
    pub next_chunk: usize,
    hashers: Vec<(Algorithm, Box<dyn DynDigest>)>,
}

impl Running {
    /// SHA-256 always; the others where `also` has them.
    pub fn new(file_bytes: u64, also: &[Digest]) -> Running {
        let mut algorithms = vec![Algorithm::Sha256];
        algorithms.extend(also.iter().map(|digest| digest.algorithm));
        algorithms.sort();
        algorithms.dedup();
        Running {
            next_chunk: 0,
            hashers: algorithms.into_iter().map(|a| (a, a.start(file_bytes))).collect(),
        }
    }

    pub fn feed(&mut self, chunk: &[u8]) {
        self.next_chunk += 1;
        for (_, hasher) in &mut self.hashers {
            hasher.update(chunk);
        }
    }

    pub fn finish(self) -> Vec<Digest> {
        let digest = |(algorithm, hasher): (_, Box<dyn DynDigest>)| Digest::from_bytes(algorithm, &hasher.finalize());
        self.hashers.into_iter().map(digest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(bytes: &[u8], also: &[Digest]) -> Vec<String> {
        let mut running = Running::new(bytes.len() as u64, also);
        running.feed(bytes);
        running.finish().iter().map(Digest::to_string).collect()
    }

    #[test]
    fn hashes_are_those_of_git_and_openssl() {
        let also = [Digest::from_hex(Algorithm::GitBlob, &"0".repeat(40)).unwrap()];
        // `printf 'hello\n' | git hash-object --stdin`, `| sha256sum`
        let expected = [
            "git:ce013625030ba8dba906f756967f9e9ca394464a",
            "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ];
        assert_eq!(digests(b"hello\n", &also), expected);
    }

    #[test]
    fn integrity_strings() {
        // `printf 'hello\n' | openssl dgst -sha384 -binary | base64`
        let sha256 = "sha256-WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM=";
        let sha384 = "sha384-HQ8oTv4+3qS5yjvVFPoTSxfq42HMx6Hu/v+AG5vWYE4B8h9r8knvAwWZ8MIY8rqM";
        assert!(
            Digest::from_sri(sha256)
                .unwrap()
                .to_string()
                .starts_with("sha256:5891b5b5")
        );
        let strongest = Digest::from_sri(&format!("{sha384} {sha256}?opt")).unwrap();
        assert_eq!(strongest.algorithm, Algorithm::Sha384);
        for bad in [
            "",
            "md5-AAAA",
            "sha256-",
            "sha256-WJG1",
            "sha256",
            &format!("{sha256} nonsense"),
        ] {
            assert_eq!(Digest::from_sri(bad), None, "{bad}");
        }
        let text = String::from(strongest.clone());
        assert_eq!(Digest::try_from(text), Ok(strongest));
        assert!(Digest::try_from("sha256:12".to_owned()).is_err());
    }
}
