//! Which server program of which version speaks: what Redan answers itself it answers as that one would.
//!
//! Pure. Sessions ask it; it knows nothing of commands. Redan speaks as Redis 7.0 where a server hides what it is, or is older.

use super::{Flavor, Node, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edition {
    pub(crate) flavor: Flavor,
    pub(crate) version: Version,
}

/// The first version of either program that has something; `None`: no version has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    pub(crate) redis: Option<Version>,
    pub(crate) valkey: Option<Version>,
}

impl Since {
    /// In what both programs come from, or in Redis `redis` and Valkey `valkey` independently.
    pub(crate) const fn both(redis: Version, valkey: Version) -> Self {
        Self { redis: Some(redis), valkey: Some(valkey) }
    }

    pub(crate) const fn redis(version: Version) -> Self {
        Self { redis: Some(version), valkey: None }
    }

    pub(crate) const fn valkey(version: Version) -> Self {
        Self { redis: None, valkey: Some(version) }
    }
}

impl Edition {
    /// The oldest that has everything a current client relies on.
    const OLDEST: Self = Self { flavor: Flavor::Redis, version: Version(7, 0, 0) };

    pub(crate) fn of(node: Option<&Node>) -> Self {
        match node {
            Some(Node { flavor, version: Some(version), .. }) => Self { flavor: *flavor, version: *version },
            _ => Self::OLDEST,
        }
    }

    pub(crate) fn has(self, since: Since) -> bool {
        let first = match self.flavor {
            Flavor::Redis => since.redis,
            Flavor::Valkey => since.valkey,
        };
        first.is_some_and(|first| self.version >= first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_has_its_own_history() {
        let redis = |version| Edition { flavor: Flavor::Redis, version };
        let valkey = |version| Edition { flavor: Flavor::Valkey, version };
        let since = Since::both(Version(7, 4, 0), Version(8, 0, 0));
        assert!(redis(Version(7, 4, 0)).has(since) && !redis(Version(7, 2, 9)).has(since));
        assert!(valkey(Version(9, 1, 2)).has(since) && !valkey(Version(7, 2, 9)).has(since));
        assert!(!redis(Version(8, 8, 0)).has(Since::valkey(Version(8, 0, 0))));
        assert!(!valkey(Version(9, 1, 0)).has(Since::redis(Version(8, 0, 0))));
        assert_eq!(Edition::of(None), Edition::OLDEST);
    }
}
