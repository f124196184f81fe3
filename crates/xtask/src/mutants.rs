//! Is the simulation awake? Each rule of `stamp-core` that `rules` lists is broken by hand, one at a
//! time, in a copy of the sources; the simulation must notice each.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{io, thread};

use crate::run::{Done, print, root, say};

mod rules;

/// How many seeds a broken rule may hide from.
const SEEDS: u64 = 200;
/// What the sources are made of: the workspace is read whole, though little of it is built.
const SOURCES: [&str; 6] =
    ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "crates", "src", "benches"];
/// The profile `sim`, but for building fifty times what runs for a second.
const BUILD: [(&str, &str); 3] = [
    ("CARGO_PROFILE_SIM_INCREMENTAL", "true"),
    ("CARGO_PROFILE_SIM_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_SIM_DEBUG", "0"),
];
/// A broken rule may also go round in circles: about ten times as long as all seeds take.
const RUN_SECONDS_MAX: u32 = 180;

/// One rule, broken.
#[derive(Clone, Copy, Debug)]
struct Mutant {
    name: &'static str,
    /// Below `crates/stamp-core/src`.
    file: &'static str,
    /// Exactly once in the file.
    old: &'static str,
    new: &'static str,
    /// The rule, in words.
    breaks: &'static str,
}

/// What became of a mutant.
#[derive(Debug)]
enum Fate {
    /// By this seed, counted from 0; the law that it broke.
    Caught {
        seed: u64,
        law: String,
    },
    /// It did not end.
    Endless,
    Survived,
}

/// Breaks these rules, or all, one at a time. One that survives is an error.
pub(crate) fn run(names: &[&str]) -> Done {
    let wanted = |mutant: &&Mutant| names.is_empty() || names.contains(&mutant.name);
    let mutants: Vec<&Mutant> = rules::RULES.iter().filter(wanted).collect();
    if mutants.is_empty() {
        return Err("no mutant has such a name".into());
    }
    let place = Place::copied()?;
    for mutant in &mutants {
        place.mutated(mutant)?;
    }
    if let fate @ (Fate::Caught { .. } | Fate::Endless) = place.judged()? {
        return Err(format!("the sources as they are: {fate:?}").into());
    }
    print("| rule that is broken | mutant | noticed by seed |\n|---|---|---|");
    let mut survivors = Vec::new();
    for mutant in mutants {
        let (path, sound) = (place.file(mutant), place.text(mutant)?);
        fs::write(&path, place.mutated(mutant)?)?;
        let fate = place.judged().map_err(|error| format!("{}: {error}", mutant.name))?;
        fs::write(&path, sound)?;
        let (by, law) = match fate {
            Fate::Caught { seed, law } => (seed.to_string(), law),
            Fate::Endless => ("0".to_owned(), "it never ends".to_owned()),
            Fate::Survived => {
                survivors.push(mutant.name);
                (format!("none of {SEEDS}"), "SURVIVED".to_owned())
            }
        };
        print(&format!("| {} | `{}` | {by} |", mutant.breaks, mutant.name));
        say(&format!("  {law}"));
    }
    if survivors.is_empty() {
        return Ok(());
    }
    Err(format!("not noticed: {}", survivors.join(", ")).into())
}

/// Where the copy lies, and where all mutants are built, so that only what changed is built anew.
struct Place {
    sources: PathBuf,
    target: PathBuf,
    output: PathBuf,
}

impl Place {
    /// The sources of now, copied.
    fn copied() -> Result<Self, io::Error> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let scratch = root().join(target.unwrap_or_else(|| "target".into())).join("mutants");
        let sources = scratch.join("sources");
        if sources.exists() {
            fs::remove_dir_all(&sources)?;
        }
        fs::create_dir_all(&sources)?;
        for source in SOURCES {
            copy(&root().join(source), &sources.join(source))?;
        }
        let (target, output) = (scratch.join("target"), scratch.join("output.txt"));
        Ok(Self { sources, target, output })
    }

    fn file(&self, mutant: &Mutant) -> PathBuf {
        self.sources.join("crates/stamp-core/src").join(mutant.file)
    }

    fn text(&self, mutant: &Mutant) -> Result<String, String> {
        let path = self.file(mutant);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The file with the rule broken. A rule that is not there exactly once is out of date.
    fn mutated(&self, mutant: &Mutant) -> Result<String, String> {
        let sound = self.text(mutant)?;
        match sound.matches(mutant.old).count() {
            1 => Ok(sound.replacen(mutant.old, mutant.new, 1)),
            count => Err(format!(
                "{}: the list is stale, its text is {count} times in {}",
                mutant.name, mutant.file
            )),
        }
    }

    /// Builds the copy and runs its simulation.
    fn judged(&self) -> Result<Fate, String> {
        let told = |error: io::Error| error.to_string();
        let program = self.built().map_err(told)?;
        let program = program.ok_or_else(|| format!("it is no program:\n{}", self.said()))?;
        let mut simulation = Command::new(program);
        simulation.arg("--nocapture").env("STAMPGATE_SIM_SEEDS", SEEDS.to_string());
        let mut child = self.heard(&mut simulation).map_err(told)?;
        let Some(status) = ended_in_time(&mut child).map_err(told)? else {
            return Ok(Fate::Endless);
        };
        if status.success() {
            return Ok(Fate::Survived);
        }
        let said = self.said();
        let (seed, law) = broken_law(&said).ok_or_else(|| format!("it failed so:\n{said}"))?;
        Ok(Fate::Caught { seed, law })
    }

    /// The test program, which cargo names in brackets.
    fn built(&self) -> io::Result<Option<PathBuf>> {
        let mut build = Command::new("cargo");
        build.args(["test", "--locked", "--profile", "sim", "-p", "stamp-core", "--test", "sim"]);
        build.arg("--no-run").env("CARGO_TARGET_DIR", &self.target).envs(BUILD);
        let is_built = self.heard(&mut build)?.wait()?.success();
        let said = self.said();
        let named = said.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')'));
        Ok(named.filter(|_| is_built).map(|(program, _)| self.sources.join(program)))
    }

    /// Starts a program among the sources, and writes down what it says.
    fn heard(&self, program: &mut Command) -> io::Result<Child> {
        let output = File::create(&self.output)?;
        let program = program.current_dir(&self.sources).stdin(Stdio::null());
        program.stdout(output.try_clone()?).stderr(output).spawn()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

/// `None` = it did not end, and was killed.
#[expect(clippy::disallowed_methods, reason = "no runtime here whose worker a sleep could block")]
fn ended_in_time(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    for _ in 0..RUN_SECONDS_MAX * 10 {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(100));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// The seed and the law of the line that the simulation ends with.
fn broken_law(said: &str) -> Option<(u64, String)> {
    let mut lines = said.lines().filter_map(|line| line.strip_prefix("seed ")?.split_once(": "));
    let (seed, law) = lines.next_back()?;
    let law: String = law.chars().take(90).collect();
    Some((seed.parse().ok()?, law.replace('|', "/")))
}

fn copy(from: &Path, to: &Path) -> Result<(), io::Error> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
