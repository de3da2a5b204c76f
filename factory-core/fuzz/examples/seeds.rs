//! Writes inputs for the fuzzer to begin with under the directory that is given: one directory for each target.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let directory = std::env::args().nth(1).expect("expected a directory");
    for (target, inputs) in factory_core_fuzz::seeds() {
        let directory = Path::new(&directory).join(target);
        std::fs::create_dir_all(&directory)?;
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number:03}")), input)?;
        }
    }
    Ok(())
}
