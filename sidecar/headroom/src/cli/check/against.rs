//! What a catalog would take away from accounts that have it: those of a directory, or of a sidecar.

use std::path::Path;

use headroom_engine::recovery::Recovery;
use headroom_sdk::AdminClient;

use crate::cli::connect;
use crate::clock::real_now;
use crate::config::catalog::{self, ParsedCatalog};
use crate::config::problems::{Place, Problem, Problems};
use crate::inspect;
use crate::sidecar::remember_catalog;

/// Where the accounts are.
pub(super) enum Against {
    /// Read from a data directory that no sidecar runs on, or from a backup.
    Memory(Box<Recovery>),
    /// Asked of a running sidecar, at this address.
    Sidecar(String),
}

impl Against {
    /// A directory that exists, or an address.
    pub(super) fn of(text: &str) -> Result<Against, String> {
        let dir = Path::new(text);
        if !dir.is_dir() && (text.starts_with('/') || text.starts_with('.')) {
            return Err(format!("--against {text}: there is no such directory"));
        }
        if !dir.is_dir() {
            return Ok(Against::Sidecar(connect::endpoint(text)));
        }
        let mut memory = inspect::memory_of(dir)?;
        remember_catalog(&mut memory);
        Ok(Against::Memory(Box::new(memory)))
    }

    /// What would be refused; without that, hints.
    pub(super) fn compare(
        &self,
        file: &Path,
        parsed: &ParsedCatalog,
    ) -> Result<Vec<String>, Problems> {
        let file = file.display().to_string();
        match self {
            Against::Memory(memory) => {
                let now = memory.clock().map_or_else(real_now, |clock| match clock.test {
                    true => clock.high_water,
                    false => clock.high_water.max(real_now()),
                });
                catalog::compared(&file, parsed, memory.compare(parsed.spec.clone(), now))
            }
            Against::Sidecar(endpoint) => {
                let failed =
                    |error: String| Problems::new(&file, "", vec![Problem::of_file(error)]);
                let answer = ask(endpoint, &parsed.source).map_err(failed)?;
                match answer.problems.is_empty() {
                    true => {
                        let hints = answer.hints.iter().map(|hint| placed(hint));
                        Ok(Problems::lines_of(&file, hints))
                    }
                    false => {
                        let problems = answer.problems.iter().map(|text| placed(text)).collect();
                        Err(Problems::new(&file, &parsed.source, problems))
                    }
                }
            }
        }
    }
}

/// A problem as the sidecar tells it, `catalog:16:5: …`, with its place in the file that it was sent.
fn placed(text: &str) -> Problem {
    let text = text.strip_prefix("catalog:").unwrap_or(text);
    let numbers = text.splitn(3, ':').collect::<Vec<_>>();
    if let [line, column, message] = numbers[..]
        && let (Ok(line @ 1..), Ok(column @ 1..)) = (line.parse(), column.parse())
    {
        return Problem::at(Place { line, column, width: 1 }, message.trim_start());
    }
    Problem::of_file(text.trim_start())
}

fn ask(endpoint: &str, source: &str) -> Result<headroom_sdk::v1::CheckCatalogResponse, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let unreachable = |error: headroom_sdk::Error| format!("the sidecar at {endpoint}: {error}");
    runtime.block_on(async {
        let client = AdminClient::connect(endpoint.to_owned()).await.map_err(unreachable)?;
        client.check_catalog(source).await.map_err(unreachable)
    })
}
