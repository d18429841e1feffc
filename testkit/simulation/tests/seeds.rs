//! A thousand seeds, and what makes them worth something: the same seed is the same run, and services
//! from which something is taken that the proofs rest on are found out.

use eventbooker_simulation::{Control, Verdict, run};

/// Fails with what is wrong with the first seed that goes wrong, and how to watch it.
fn all_end_well(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let Verdict { wrong, .. } = run(seed, None, false);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}\nto watch it: testkit/simulate {seed}");
    }
}

/// Each is a test of its own, so that they run beside each other.
macro_rules! hundreds {
    ($($name:ident: $hundred:literal,)+) => {
        $(
            #[test]
            fn $name() {
                all_end_well($hundred * 100..($hundred + 1) * 100);
            }
        )+
    };
}

hundreds! {
    seeds_from_0: 0,
    seeds_from_100: 1,
    seeds_from_200: 2,
    seeds_from_300: 3,
    seeds_from_400: 4,
    seeds_from_500: 5,
    seeds_from_600: 6,
    seeds_from_700: 7,
    seeds_from_800: 8,
    seeds_from_900: 9,
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        assert_eq!(run(seed, None, false), run(seed, None, false));
    }
    assert_ne!(run(0, None, false).digest, run(1, None, false).digest);
}

/// The first seed that finds out what was taken.
fn found_out(control: Control) -> Verdict {
    let verdicts = (0..100).map(|seed| run(seed, Some(control), false));
    let found = verdicts.into_iter().find(|verdict| !verdict.wrong.is_empty());
    found.unwrap_or_else(|| panic!("nobody has found out {control:?}"))
}

#[test]
fn participants_that_remember_nothing_are_found_out() {
    let Verdict { seed, wrong, .. } = found_out(Control::Forgetful);
    println!("seed {seed}: {wrong:#?}");
}

#[test]
fn services_that_forget_what_they_answered_are_found_out() {
    let Verdict { seed, wrong, .. } = found_out(Control::Keyless);
    println!("seed {seed}: {wrong:#?}");
}
