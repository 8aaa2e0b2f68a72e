//! argv → cli → exit code.

fn main() -> std::process::ExitCode {
    lakegate::cli::main()
}
