//! From the start of a container's process to its end.

use futures_util::StreamExt as _;
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::WaitContainerOptionsBuilder;
use tokio::sync::watch;

/// How a process ended: its exit code, or why that cannot be told.
type End = Result<i64, String>;

/// One process of a container.
#[derive(Clone, Debug)]
pub(super) struct Life {
    end: watch::Receiver<Option<End>>,
}

impl Life {
    /// Watches the process that was started last. If it has ended by now, that is told too.
    pub(super) fn of(docker: Docker, container: String) -> Life {
        let (tell, end) = watch::channel(None);
        tokio::spawn(async move {
            let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
            let answer = docker.wait_container(&container, Some(options)).next().await;
            let end = match answer {
                Some(Ok(answer)) => Ok(answer.status_code),
                // An exit code other than 0 comes as an error.
                Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(code),
                Some(Err(error)) => Err(format!("the container engine lost sight of it: {error}")),
                None => Err("the container engine lost sight of it".to_owned()),
            };
            // Without a receiver nobody wants to know.
            let _ = tell.send(Some(end));
        });
        Life { end }
    }

    /// Whether its end has not been seen yet.
    pub(super) fn is_running(&self) -> bool {
        self.end.borrow().is_none()
    }

    /// Waits for its end.
    pub(super) fn end(&self) -> impl Future<Output = End> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            match end.wait_for(Option::is_some).await {
                Ok(end) => end.clone().unwrap_or_else(|| unreachable!("it was waited for")),
                Err(_) => Err("nobody watches it any more".to_owned()),
            }
        }
    }
}
