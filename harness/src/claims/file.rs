//! The claims as they are written down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

use crate::node::Kind;
use crate::scenario::KindName;

/// The claims that are judged where no other file is named.
const OWN: &str = include_str!("../../claims.yaml");

/// Claims, in the order in which they are told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Each claim.
    pub claims: Vec<Claim>,
}

/// One claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What it is called.
    pub id: String,
    /// What it says.
    pub claim: String,
    /// Who made it.
    pub by: String,
    /// What is measured for the conditions.
    pub measure: Option<Measure>,
    /// What shows whether it is so.
    pub evidence: Vec<Evidence>,
}

/// A measurement of when the factory close takes the allocation's place. Conditions may name what comes of it:
/// `{last}` is the most closes in the mempool with which the exact fee is enough, and `{premium}` what it lacks, in
/// satoshi, against those of all members.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// How many members the factory has.
    pub members: u32,
}

/// Scenarios that show something about a claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What they show if they pass.
    pub shows: Shows,
    /// Under which condition.
    pub when: Option<String>,
    /// For which kinds of node; for all of them if none is named.
    #[serde(default)]
    pub kinds: Vec<KindName>,
    /// The files, below the folder of scenarios.
    pub scenarios: Vec<PathBuf>,
}

/// What evidence shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shows {
    /// That the claim holds.
    Holds,
    /// That it does not.
    Fails,
}

/// Returned when a file of claims is not sound.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// Returned when it cannot be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Returned when it is no YAML of claims.
    #[error("{file}: {why}")]
    Form {
        /// The file.
        file: String,
        /// What is wrong, and where.
        why: String,
    },
    /// Returned when a claim makes no sense.
    #[error("{file}: claim {claim}: {why}")]
    Claim {
        /// The file.
        file: String,
        /// The claim's id.
        claim: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Claims {
    /// The claims of the proposal.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`], if the file that comes with the program is not sound, which its tests rule out.
    pub fn own() -> Result<Claims, ClaimsError> {
        Claims::parse("claims.yaml", OWN)
    }

    /// Reads claims from a file.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`], if it cannot be read or is not sound.
    pub fn read(path: &Path) -> Result<Claims, ClaimsError> {
        let text = fs::read_to_string(path).map_err(|source| ClaimsError::Io { path: path.to_owned(), source })?;
        Claims::parse(&path.display().to_string(), &text)
    }

    fn parse(file: &str, text: &str) -> Result<Claims, ClaimsError> {
        let form = |why: String| ClaimsError::Form { file: file.to_owned(), why };
        let claims: Claims = serde_yaml::from_str(text).map_err(|why| form(why.to_string()))?;
        let mut ids = BTreeSet::new();
        for claim in &claims.claims {
            let mut problem = claim.problem();
            if !ids.insert(&claim.id) {
                problem = Some("there is another one of this name".to_owned());
            }
            if let Some(why) = problem {
                return Err(ClaimsError::Claim { file: file.to_owned(), claim: claim.id.clone(), why });
            }
        }
        Ok(claims)
    }
}

impl Claim {
    fn problem(&self) -> Option<String> {
        let both = [Shows::Holds, Shows::Fails].map(|shows| self.evidence.iter().any(|one| one.shows == shows));
        if self.evidence.is_empty() {
            return Some("expected evidence, found none".to_owned());
        }
        if self.evidence.iter().any(|evidence| evidence.scenarios.is_empty()) {
            return Some("expected scenarios as evidence, found none".to_owned());
        }
        if both == [true, true] && self.evidence.iter().any(|evidence| evidence.when.is_none()) {
            return Some(
                "some evidence shows that it holds and some that it fails: expected `when` in each".to_owned(),
            );
        }
        let named = self.evidence.iter().filter_map(|evidence| evidence.when.as_deref());
        let names = |text: &str| ["{last}", "{premium}"].iter().any(|name| text.contains(name));
        if self.measure.is_none() && named.clone().any(names) {
            return Some("a condition names what is measured: expected `measure: { members: … }`".to_owned());
        }
        None
    }
}

impl Evidence {
    /// Whether it is for nodes of this kind.
    pub fn is_for(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|named| named.0 == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Claims::parse("file", text).unwrap_err().to_string()
    }

    #[test]
    fn the_own_claims_are_sound_and_their_scenarios_are_there() {
        let claims = Claims::own().unwrap();
        assert!(!claims.claims.is_empty());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        for claim in claims.claims {
            for scenario in claim.evidence.iter().flat_map(|evidence| &evidence.scenarios) {
                assert!(folder.join(scenario).is_file(), "{}: {}", claim.id, scenario.display());
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let of = |evidence: &str| format!("claims: [{{ id: a, claim: b, by: c, evidence: [{evidence}] }}]");
        assert_eq!(error(&of("")), "file: claim a: expected evidence, found none");
        assert_eq!(
            error(&of("{ shows: holds, scenarios: [] }")),
            "file: claim a: expected scenarios as evidence, found none"
        );
        let mixed = of("{ shows: holds, scenarios: [x] }, { shows: fails, when: y, scenarios: [x] }");
        assert!(error(&mixed).ends_with("expected `when` in each"), "{}", error(&mixed));
        let unmeasured = of("{ shows: holds, when: '{last} closes', scenarios: [x] }");
        assert!(error(&unmeasured).contains("expected `measure"), "{}", error(&unmeasured));
        let unknown = of("{ shows: perhaps, scenarios: [x] }");
        assert!(error(&unknown).starts_with("file: ") && error(&unknown).contains("perhaps"), "{}", error(&unknown));
        let one = "{ id: a, claim: b, by: c, evidence: [{ shows: holds, scenarios: [x] }] }";
        assert_eq!(error(&format!("claims: [{one}, {one}]")), "file: claim a: there is another one of this name");
    }
}
