//! Builds projects from the command line: `cargo run -p galley-build --example author -- build DIR..`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of its own"
)]

use std::path::Path;
use std::time::Instant;

use galley_build::{Language, Workshop, build, find_or_install_rust, new};

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let say = |text: &str| eprintln!("  {text}");
    let workshop = Workshop::new(std::env::temp_dir().join("galley-author"), &say);
    let outcome = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["toolchain"] => find_or_install_rust(&workshop).map(|found| println!("{found:?}")),
        ["new", language, dir] => {
            let language = match *language {
                "python" => Language::Python,
                "javascript" => Language::JavaScript,
                _ => Language::Rust,
            };
            new(Path::new(dir), "conversion_rate", language).map(|made| println!("{made:?}"))
        }
        ["build", dirs @ ..] => dirs.iter().try_for_each(|dir| {
            let start = Instant::now();
            build(&workshop, Path::new(dir)).map(|built| {
                let seconds = start.elapsed().as_secs_f64();
                println!(
                    "{} {} bytes {seconds:.1} s",
                    built.path.display(),
                    built.bytes
                );
            })
        }),
        _ => {
            eprintln!("usage: author toolchain | new LANGUAGE DIR | build DIR..");
            return std::process::ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
