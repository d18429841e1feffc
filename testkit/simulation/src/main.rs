//! Runs one seed of the simulation and shows each of its steps.

use std::process::ExitCode;

use clap::Parser;
use eventbooker_simulation::{Control, Verdict, run};

#[derive(Parser)]
#[command(name = "testkit/simulate", about)]
struct Options {
    /// The seed.
    seed: u64,
    /// What to take from the services: a negative control.
    #[arg(long)]
    control: Option<Control>,
}

fn main() -> ExitCode {
    let Options { seed, control } = Options::parse();
    let Verdict { digest, steps, wrong, .. } = run(seed, control, true);
    println!("seed {seed}: {steps} steps, digest {digest:016x}");
    for what in &wrong {
        println!("wrong: {what}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
