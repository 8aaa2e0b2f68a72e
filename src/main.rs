//! argv → cli → exit code.

/// Records are made on one thread and dropped on another, by the thousand: the system's allocator is slow at that.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    lakegate::cli::main()
}
