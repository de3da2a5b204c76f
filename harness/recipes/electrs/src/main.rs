//! What the program of electrs itself does: Cargo builds a dependency's library, not its program.

fn main() {
    if let Err(error) = electrs::run() {
        eprintln!("Error: {error:?}");
        std::process::exit(1);
    }
}
