//! How messages and stored records become bytes: `postcard`, with transactions in their consensus encoding.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Returned when bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Returned when there are more bytes than are allowed. Nothing was read.
    #[error("{found} bytes are over the limit of {limit}")]
    TooLong {
        /// How many there are.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Returned when bytes are of a version that is not known here.
    #[error("version {found} is not known: expected {expected}")]
    Version {
        /// The version found; `None` if there is not even that.
        found: VersionFound,
        /// The version that can be read.
        expected: u8,
    },
    /// Returned when the bytes do not make a value.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Returned when bytes are left over.
    #[error("{0} bytes are left over")]
    LeftOver(usize),
}

/// The version byte that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionFound(pub Option<u8>);

impl std::fmt::Display for VersionFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(version) => version.fmt(f),
            None => f.write_str("(none)"),
        }
    }
}

/// `value` as bytes.
pub(crate) fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("every type here has a known length, and memory is the only limit")
}

/// `value` as bytes, after a version byte.
pub(crate) fn to_versioned(version: u8, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![version]).expect("every type here has a known length, and memory is the only limit")
}

/// The value that `bytes` are, all of them.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::LeftOver(rest.len())) }
}

/// The value that `bytes` are after their version byte. Nothing is allocated for more than `limit` bytes.
pub(crate) fn from_versioned<T: DeserializeOwned>(version: u8, limit: usize, bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { found: bytes.len(), limit });
    }
    match bytes.split_first() {
        Some((found, rest)) if *found == version => from_bytes(rest),
        found => {
            let found = VersionFound(found.map(|(version, _)| *version));
            Err(DecodeError::Version { found, expected: version })
        }
    }
}

/// `serde(with)`: a value in Bitcoin's consensus encoding.
pub(crate) mod consensus {
    use bitcoin::consensus::{Decodable, Encodable, deserialize as decode, serialize as encode};
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(crate) fn serialize<T: Encodable, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&encode(value))
    }

    pub(crate) fn deserialize<'de, T: Decodable, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let bytes: Vec<u8> = Deserialize::deserialize(deserializer)?;
        decode(&bytes).map_err(D::Error::custom)
    }
}

/// `serde(with)`: a list of amounts, each in satoshi.
pub(crate) mod amounts {
    use std::sync::Arc;

    use bitcoin::Amount;
    use serde::de::{Deserialize, Deserializer};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(amounts: &Arc<[Amount]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(amounts.iter().map(|amount| amount.to_sat()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[Amount]>, D::Error> {
        let amounts: Vec<u64> = Deserialize::deserialize(deserializer)?;
        Ok(amounts.into_iter().map(Amount::from_sat).collect())
    }
}

/// `serde(with)`: what several owners share.
pub(crate) mod shared {
    use std::sync::Arc;

    use serde::de::{Deserialize, Deserializer};
    use serde::ser::{Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}
