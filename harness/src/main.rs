//! The program `shopfloor`.

fn main() -> std::process::ExitCode {
    shopfloor::cli::main()
}
