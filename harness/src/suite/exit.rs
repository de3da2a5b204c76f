//! How the program ends.

use std::process::ExitCode;

use crate::report::Verdict;

/// What the codes mean, for the help text.
pub const EXIT_CODES: &str = "Exit codes: 0 all passed; 1 a scenario failed; 2 bad input; \
    3 nothing failed, but something was skipped; 4 the harness or a program it needs failed; \
    5 nothing failed, but something was inconclusive; 130 interrupted. The worst of them counts: \
    pass, skip, inconclusive, fail, error";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All passed.
    Pass = 0,
    /// A scenario failed.
    Fail = 1,
    /// The arguments or a scenario are not sound.
    BadInput = 2,
    /// Nothing is worse than a skip.
    Skip = 3,
    /// The harness, or a program that it needs, failed.
    Error = 4,
    /// Nothing failed, but something shows nothing.
    Inconclusive = 5,
    /// By Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// The code for several verdicts: the worst of them counts. No verdict at all shows nothing, so it is no pass.
    pub fn of(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        match verdicts.into_iter().max() {
            Some(Verdict::Pass) => Exit::Pass,
            Some(Verdict::Skip) => Exit::Skip,
            Some(Verdict::Inconclusive) | None => Exit::Inconclusive,
            Some(Verdict::Fail) => Exit::Fail,
            Some(Verdict::Error) => Exit::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_decides() {
        use Verdict::*;
        for (verdicts, exit, code) in [
            (vec![], Exit::Inconclusive, 5),
            (vec![Pass, Pass], Exit::Pass, 0),
            (vec![Pass, Skip], Exit::Skip, 3),
            (vec![Inconclusive, Skip, Pass], Exit::Inconclusive, 5),
            (vec![Skip, Fail, Inconclusive], Exit::Fail, 1),
            (vec![Error, Fail], Exit::Error, 4),
        ] {
            assert_eq!(Exit::of(verdicts.clone()), exit, "{verdicts:?}");
            assert_eq!(exit as u8, code);
        }
    }
}
