//! `trainer import`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use cyclegan::{Config, Method};
use exchange::{Asked, Fitted};
use serde::de::DeserializeOwned;
use tensor::Device;

use crate::checkpoint::{self, Header};
use crate::cli::{Direction, ImportArgs, Options};
use crate::history::History;
use crate::rate::Rate;
use crate::run_dir::RunDir;
use crate::settings::{Settings, shown};
use crate::train::{self, Ending};

/// The networks of a run, the first direction's first.
const NETWORKS: [&str; 4] = ["G_A", "G_B", "D_A", "D_B"];

/// Makes a run of networks that another program trained. Those that are not given are fresh.
///
/// # Errors
/// With what is wrong and what to do; nothing is written then.
pub fn run(args: &ImportArgs) -> Result<Ending> {
    let sources = sources(args)?;
    let mut settings = settings(args)?;
    let asked = Asked {
        generator: option(args.generator.as_deref())?,
        norm: option(args.norm.as_deref())?,
    };
    let imported = fit_all(&sources, &settings.model, asked)?;
    for (_, path, fitted) in &imported {
        settings.model = fitted.config.clone();
        for note in &fitted.notes {
            eprintln!("{}: {note}", path.display());
        }
    }
    settings.model.check()?;

    let model = cyclegan::model(&settings.model, &Device::Cpu)?;
    let mut state = model.state()?;
    for (network, _, fitted) in &imported {
        let tensors = fitted.state.iter();
        state.extend(tensors.map(|(name, tensor)| (format!("{network}/{name}"), tensor.clone())));
    }
    model.load_networks(&state)?;

    let (dir, _lock) = RunDir::create(&mut settings)?;
    let header = Header {
        settings,
        steps: 0,
        pictures: 0,
        passed_over: BTreeSet::new(),
        rate: Rate::default(),
        kernels: String::new(),
        device: Device::Cpu.to_string(),
        fingerprint: String::new(),
    };
    checkpoint::save(&dir, &state, &header)?;
    let from = imported
        .iter()
        .map(|(network, path, _)| format!("{network} from {}", path.display()));
    let from: Vec<String> = from.collect();
    History::open(&dir)?.imported(&from)?;
    report(&imported, &header.settings.model, &from, dir.path());
    Ok(Ending::Finished)
}

/// Says what was made, and what can be done with it.
fn report(imported: &[Import<'_>], config: &Config, from: &[String], run: &Path) {
    let value = |key| shown(config, key);
    let has = |network: &str| imported.iter().any(|(imported, ..)| *imported == network);
    let fresh: Vec<&str> = NETWORKS
        .into_iter()
        .filter(|network| !has(network))
        .collect();
    let direction = match has("G_A") {
        true => "",
        false => " --direction BtoA",
    };
    let run = run.display();
    eprintln!("imported    {}", from.join(", "));
    eprintln!(
        "generators  {}, ngf {}, norm {}",
        value("generator"),
        value("ngf"),
        value("norm")
    );
    if !fresh.is_empty() {
        eprintln!(
            "fresh       {}, drawn with seed {}",
            fresh.join(", "),
            config.seed
        );
    }
    eprintln!(
        "translate   cargo run -p trainer -- translate {run}{direction} --input PICTURE --output FOLDER"
    );
    eprintln!("train on    cargo run -p trainer -- --resume {run} --data FOLDER --steps N");
}

/// A network, the file it is from, and what was found there.
type Import<'a> = (&'static str, &'a Path, Fitted);

/// Where the networks of [`NETWORKS`] come from.
type Sources = [Option<PathBuf>; 4];

/// The files that arguments mean.
fn sources(args: &ImportArgs) -> Result<Sources> {
    if args.file.is_dir() {
        ensure!(
            args.back.is_none() && args.direction.is_none(),
            "{} is a folder, whose files say themselves which direction is theirs; leave out --back and \
             --direction, or give a file",
            args.file.display()
        );
        let found = NETWORKS.map(|network| {
            let path = args.file.join(format!("latest_net_{network}.pth"));
            path.is_file().then_some(path)
        });
        ensure!(
            found[..2].iter().any(Option::is_some),
            "there is no latest_net_G_A.pth or latest_net_G_B.pth in {}; give a file",
            args.file.display()
        );
        return Ok(found);
    }
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let direction = args.direction.unwrap_or(match stem.ends_with("net_G_B") {
        true => Direction::BtoA,
        false => Direction::AtoB,
    });
    let (file, back) = (Some(args.file.clone()), args.back.clone());
    Ok(match direction {
        Direction::AtoB => [file, back, None, None],
        Direction::BtoA => [back, file, None, None],
    })
}

/// The settings of the run: the reference's, or those of a file.
fn settings(args: &ImportArgs) -> Result<Settings> {
    let flags = Options {
        preset: args.config.is_none().then(|| "paper".into()),
        ..Options::default()
    };
    let mut settings = Settings::resolve(args.config.as_deref(), &flags)?;
    settings.run.data = train::absolute(&settings.run.data)?;
    settings.run.out = args.output.clone();
    ensure!(
        settings.model.method == Method::CycleGan,
        "imported networks become a CycleGAN's; leave method out of the configuration"
    );
    Ok(settings)
}

/// What an option's name means.
fn option<T: DeserializeOwned>(name: Option<&str>) -> Result<Option<T>> {
    let value = name.map(|name| toml::Value::String(name.to_owned()).try_into());
    Ok(value.transpose()?)
}

/// Reads the networks and finds out what they are. All of a kind must be alike; each has the configuration of
/// those before it.
fn fit_all<'a>(sources: &'a Sources, base: &Config, asked: Asked) -> Result<Vec<Import<'a>>> {
    let mut imported: Vec<Import<'a>> = Vec::new();
    for (network, path) in NETWORKS.into_iter().zip(sources) {
        let Some(path) = path else {
            continue;
        };
        let before = imported.last().map_or(base, |(.., fitted)| &fitted.config);
        let weights = exchange::read(path)?;
        let (fitted, width, advice): (_, fn(&Config) -> usize, _) = match network.starts_with('G') {
            true => {
                let asked = match imported.is_empty() {
                    true => asked,
                    false => Asked {
                        generator: Some(before.generator),
                        norm: Some(before.norm),
                    },
                };
                (
                    exchange::generator(&weights, before, asked),
                    |config| config.ngf,
                    "",
                )
            }
            false => (
                exchange::discriminator(&weights, before),
                |config| config.ndf,
                ". To leave the discriminators out, give the generators' files themselves, the second as --back",
            ),
        };
        let fitted = fitted.map_err(|error| anyhow!("{}: {error}{advice}", path.display()))?;
        let twin = imported
            .iter()
            .find(|(other, ..)| other[..1] == network[..1]);
        if let Some((_, other, twin)) = twin {
            let kind = |config: &Config| (config.discriminator, config.n_layers, width(config));
            if kind(&twin.config) != kind(&fitted.config) {
                bail!(
                    "{} and {} are networks of different kinds or widths, and those of a run are alike; \
                     import each into a run of its own{advice}",
                    other.display(),
                    path.display()
                );
            }
        }
        imported.push((network, path, fitted));
    }
    (!imported.is_empty())
        .then_some(imported)
        .context("no file was given")
}
