//! Runs one seed of the simulation and shows each of its steps.

use std::process::ExitCode;

use clap::Parser;
use eventbooker_simulation::{Control, Verdict, run};

#[derive(Parser)]
#[command(name = "testkit/simulate", about)]
struct Options {
    /// The seed.
    seed: u64,
    /// Take from participants what they remember: a negative control.
    #[arg(long)]
    forgetful: bool,
}

fn main() -> ExitCode {
    let Options { seed, forgetful } = Options::parse();
    let control = forgetful.then_some(Control::Forgetful);
    let Verdict { digest, steps, wrong, .. } = run(seed, control, true);
    println!("seed {seed}: {steps} steps, digest {digest:016x}");
    for what in &wrong {
        println!("wrong: {what}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
