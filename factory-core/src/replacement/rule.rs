//! What the rules ask, and whether it is met.

use std::fmt;

use bitcoin::Amount;

/// A rule of a mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Its version is one that nodes relay: 1 to 3.
    Version,
    /// Its weight is standard.
    Weight,
    /// No output is below the dust limit, but what may be spent at once (ephemeral dust) of a transaction without a fee.
    Dust,
    /// It spends the dust of its unconfirmed parents.
    DustSpent,
    /// It pays to enter the mempool as full as it is.
    MempoolMinimum,
    /// It pays the least that is relayed.
    RelayMinimum,
    /// It has few enough ancestors.
    Ancestors,
    /// They are small enough, in virtual bytes.
    AncestorSize,
    /// Each ancestor has few enough descendants.
    Descendants,
    /// They are small enough, in virtual bytes.
    DescendantSize,
    /// Transactions of version 3 keep to their topology (BIP 431).
    Truc,
    /// It spends nothing that it would evict.
    SpendsNoConflict,
    /// Its feerate is above that of each transaction it conflicts with directly.
    FeerateAboveConflicts,
    /// It evicts few enough transactions, or touches few enough clusters.
    Evicted,
    /// It spends no unconfirmed output that what it evicts does not spend (BIP 125, rule 2).
    NoNewUnconfirmed,
    /// It pays at least all the fees that it evicts (BIP 125, rule 3).
    AbsoluteFee,
    /// It pays for its own relay on top (BIP 125, rule 4).
    RelayPayment,
    /// What hangs together with it is few enough transactions.
    ClusterCount,
    /// It is small enough, in weight units.
    ClusterWeight,
    /// Both of a package together are light enough, in weight units.
    PackageWeight,
    /// A package that replaces something spends nothing else that is unconfirmed.
    PackageParents,
    /// The child pays more than its share: the package's feerate is above its parent's.
    PackageFeerate,
    /// What a package conflicts with has one relative at most: the only diagrams that were compared before cluster mempool.
    ConflictTopology,
    /// The feerate diagram improves.
    Diagram,
}

impl Rule {
    /// What it is called in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::Version => "version",
            Rule::Weight => "weight",
            Rule::Dust => "dust",
            Rule::DustSpent => "dust-spent",
            Rule::MempoolMinimum => "mempool-minimum",
            Rule::RelayMinimum => "relay-minimum",
            Rule::Ancestors => "ancestors",
            Rule::AncestorSize => "ancestor-size",
            Rule::Descendants => "descendants",
            Rule::DescendantSize => "descendant-size",
            Rule::Truc => "truc",
            Rule::SpendsNoConflict => "spends-no-conflict",
            Rule::FeerateAboveConflicts => "feerate-above-conflicts",
            Rule::Evicted => "evicted",
            Rule::NoNewUnconfirmed => "no-new-unconfirmed",
            Rule::AbsoluteFee => "absolute-fee",
            Rule::RelayPayment => "relay-payment",
            Rule::ClusterCount => "cluster-count",
            Rule::ClusterWeight => "cluster-weight",
            Rule::PackageWeight => "package-weight",
            Rule::PackageParents => "package-parents",
            Rule::PackageFeerate => "package-feerate",
            Rule::ConflictTopology => "conflict-topology",
            Rule::Diagram => "diagram",
        }
    }

    /// The words with which a node refuses a single transaction that breaks this rule.
    pub const fn reject_reason(self) -> &'static str {
        match self {
            Rule::Version => "version",
            Rule::Weight => "tx-size",
            Rule::Dust => "dust",
            Rule::DustSpent => "missing-ephemeral-spends",
            Rule::MempoolMinimum => "mempool min fee not met",
            Rule::RelayMinimum => "min relay fee not met",
            Rule::Ancestors | Rule::AncestorSize | Rule::Descendants | Rule::DescendantSize => "too-long-mempool-chain",
            Rule::Truc => "TRUC-violation",
            Rule::SpendsNoConflict => "bad-txns-spends-conflicting-tx",
            Rule::FeerateAboveConflicts | Rule::AbsoluteFee | Rule::RelayPayment => "insufficient fee",
            Rule::Evicted => "too many potential replacements",
            Rule::NoNewUnconfirmed => "replacement-adds-unconfirmed",
            Rule::ClusterCount | Rule::ClusterWeight => "too-large-cluster",
            Rule::Diagram => "replacement-failed",
            Rule::PackageWeight | Rule::PackageParents | Rule::PackageFeerate | Rule::ConflictTopology => {
                self.package_reject_reason()
            }
        }
    }

    /// The words with which a node refuses a package that breaks this rule.
    pub const fn package_reject_reason(self) -> &'static str {
        match self {
            Rule::PackageWeight => "package-too-large",
            Rule::AncestorSize => "package-mempool-limits",
            Rule::DustSpent => "unspent-dust",
            Rule::AbsoluteFee | Rule::RelayPayment => "package RBF failed: insufficient anti-DoS fees",
            Rule::Evicted => "package RBF failed: too many potential replacements",
            Rule::PackageParents => "package RBF failed: new transaction cannot have mempool ancestors",
            Rule::PackageFeerate => "package RBF failed: package feerate is less than or equal to parent feerate",
            Rule::ConflictTopology | Rule::Diagram => "package RBF failed",
            _ => self.reject_reason(),
        }
    }
}

/// What a rule asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requires {
    /// A fee of at least so much.
    Fee(Amount),
    /// No more than `limit`, whatever the fee.
    AtMost {
        /// The most that is allowed.
        limit: u64,
        /// What there is.
        found: u64,
    },
    /// No fee at all.
    NoFee,
    /// That nothing stands against it, whatever the fee; or what does.
    Nothing(Option<&'static str>),
}

/// One rule and what it asks here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What it asks.
    pub requires: Requires,
}

impl Finding {
    /// Whether the rule is met at this fee.
    pub fn holds(&self, fee: Amount) -> bool {
        match self.requires {
            Requires::Fee(least) => fee >= least,
            Requires::AtMost { limit, found } => found <= limit,
            Requires::NoFee => fee == Amount::ZERO,
            Requires::Nothing(against) => against.is_none(),
        }
    }
}

impl fmt::Display for Requires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Requires::Fee(least) => write!(f, "a fee of at least {} sat", least.to_sat()),
            Requires::AtMost { limit, found } => write!(f, "at most {limit}, found {found}"),
            Requires::NoFee => f.write_str("no fee"),
            Requires::Nothing(None) => f.write_str("met"),
            Requires::Nothing(Some(against)) => f.write_str(against),
        }
    }
}

/// What every rule says of a candidate at one fee, in the order in which a node tries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The fee that was offered: of the candidate, or of a package's child.
    pub fee: Amount,
    /// Every rule.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// Whether it is accepted.
    pub fn accepted(&self) -> bool {
        self.first_broken().is_none()
    }

    /// The first rule that is not met: the one that a node's refusal names.
    pub fn first_broken(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| !finding.holds(self.fee))
    }

    /// The smallest fee at which every rule is met; `None` if there is none.
    pub fn smallest_fee(&self) -> Option<Amount> {
        let asked = self.findings.iter().filter_map(|finding| match finding.requires {
            Requires::Fee(least) => Some(least),
            _ => None,
        });
        let smallest = asked.max().unwrap_or(Amount::ZERO);
        self.findings.iter().all(|finding| finding.holds(smallest)).then_some(smallest)
    }

    /// The rule that decides the smallest fee.
    pub fn binding(&self) -> Option<Rule> {
        let smallest = self.smallest_fee()?;
        self.findings.iter().find(|finding| finding.requires == Requires::Fee(smallest)).map(|finding| finding.rule)
    }
}
