//! A scenario as a job of a suite.

use std::sync::Arc;
use std::time::Duration;

use super::progress::Progress;
use super::schedule::Job;
use crate::node::provision::Env;
use crate::report::RunReport;
use crate::scenario::{self, Backend, ChainView, Loaded, Options};

/// What a run may take beyond its deadline, for its end.
const GRACE: Duration = Duration::from_secs(60);

/// One run of one cell.
pub(crate) struct ScenarioJob {
    pub(crate) loaded: Loaded,
    pub(crate) repetition: Option<u32>,
    pub(crate) env: Arc<Env>,
    pub(crate) keep: bool,
}

impl Job for ScenarioJob {
    fn weight(&self) -> usize {
        let scenario = &self.loaded.scenario;
        let servers = scenario.everybody().filter(|party| scenario.party(*party).chain_view == ChainView::Electrum);
        let nodes = scenario.node_names();
        // A container starts slower, and no faster beside others.
        let heavy = nodes.iter().filter(|(_, node)| node.backend == Backend::Container).count();
        nodes.len() + heavy + servers.count().min(1)
    }

    fn deadline(&self) -> Duration {
        self.loaded.scenario.deadline.0 + GRACE
    }

    fn blank(&self) -> RunReport {
        RunReport { repetition: self.repetition, ..RunReport::new(&self.loaded) }.with_replay()
    }

    async fn run(self, progress: Progress) -> RunReport {
        let on_step = |number: usize, of: usize, text: &str| progress.step(number + 1, of, text);
        let options = Options { env: &self.env, keep: self.keep, on_step: &on_step };
        let report = scenario::run(&self.loaded, &options).await;
        RunReport { repetition: self.repetition, ..report }.with_replay()
    }
}
