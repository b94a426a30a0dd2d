//! A run's settings: a preset, a TOML file over it, flags over that.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use cyclegan::{Config, Method, Preset};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::cli::{Direction, Options};

/// All settings of a run, as its `config.toml` holds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub run: RunSettings,
    pub model: Config,
}

/// What a run is made with that does not determine its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    pub preset: Preset,
    /// Empty: the demo faces.
    pub data: PathBuf,
    /// The style of the drawings to train on, a folder `style-NAME` in `trainB`; empty: all drawings.
    pub style: String,
    /// Which of the data's domains is the run's A.
    pub direction: Direction,
    /// How many pictures of each domain are taken; 0: all.
    pub max_dataset_size: usize,
    /// Empty: a free folder below `runs`.
    pub out: PathBuf,
    pub device: String,
    /// Whether a GPU's kernels are chosen by measurement.
    pub autotune: bool,
    pub sample_every: u64,
    pub checkpoint_every: u64,
    pub keep_checkpoints: usize,
    /// Checkpoints at multiples of so many steps are kept beyond that; 0: none.
    pub keep_every: u64,
    /// What is done about a step whose losses or gradients are no finite numbers.
    pub on_nan: OnNan,
    /// Whether event files for TensorBoard are written.
    pub tensorboard: bool,
    /// Steps between evaluations; 0: none.
    pub eval_every: u64,
    /// Weights of the network to evaluate with.
    pub features: PathBuf,
    /// Weights of the network by whose sight generators are trained; empty: none.
    pub perceptual: PathBuf,
    /// Weights of the network to tell people apart with; empty: none.
    pub identity: PathBuf,
    /// The most pictures of each domain to evaluate with.
    pub eval_pictures: usize,
    /// The figure by which the best checkpoint is told.
    pub best: Best,
}

/// A figure of an evaluation that is the less the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Best {
    /// Kernel inception distance of translations and targets.
    Kid,
    /// Fréchet inception distance of those.
    Fid,
    /// LPIPS between pictures and what comes back.
    LpipsCycle,
    /// The mean difference of their pixels.
    L1Cycle,
    /// How far descriptors of people are from those of their translations.
    Identity,
}

impl Best {
    /// What it is called among the metrics.
    pub fn key(self) -> &'static str {
        match self {
            Best::Kid => "kid",
            Best::Fid => "fid",
            Best::LpipsCycle => "lpips_cycle",
            Best::L1Cycle => "l1_cycle",
            Best::Identity => "identity",
        }
    }
}

/// What is done about a step whose losses or gradients are no finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNan {
    /// The networks stay as they are, and the run goes on with the next step.
    Skip,
    /// The run goes back to its last checkpoint, and passes over the step when it comes again.
    Rollback,
    /// The run ends.
    Stop,
}

impl RunSettings {
    fn preset(preset: Preset) -> Self {
        let every = match preset {
            Preset::Demo => 250,
            Preset::Paper => 1000,
        };
        RunSettings {
            preset,
            data: PathBuf::new(),
            style: String::new(),
            direction: Direction::AtoB,
            max_dataset_size: 0,
            out: PathBuf::new(),
            device: "best".into(),
            autotune: true,
            sample_every: every,
            checkpoint_every: every,
            keep_checkpoints: 3,
            keep_every: 0,
            on_nan: OnNan::Skip,
            tensorboard: false,
            eval_every: 0,
            features: PathBuf::new(),
            perceptual: PathBuf::new(),
            identity: PathBuf::new(),
            eval_pictures: 64,
            best: Best::Kid,
        }
    }
}

impl Settings {
    /// The settings that a file and flags ask for.
    ///
    /// # Errors
    /// When the file can't be read, or an option is unknown or does not work.
    pub fn resolve(file: Option<&Path>, flags: &Options) -> Result<Self> {
        let from_file = file.map(read_table).transpose()?.unwrap_or_default();
        Self::merge(from_file, flags_table(flags)?).with_context(|| origin(file))
    }

    /// These settings with what a configuration, and flags over that, say otherwise.
    ///
    /// # Errors
    /// As [`Settings::resolve`].
    pub fn with(&self, configuration: &str, flags: &Options) -> Result<Self> {
        let mut table = self.to_table()?;
        table.extend(parse(configuration)?);
        Self::merge(table, flags_table(flags)?)
    }

    fn merge(mut file: Table, mut flags: Table) -> Result<Self> {
        // `--epochs` says that epochs count, whatever the preset says of steps.
        if flags.contains_key("epochs") {
            flags.insert("steps".into(), toml::Value::Integer(0));
        }
        // Stages say how many steps there are, whatever came before says.
        for table in [&mut file, &mut flags] {
            let stages = table.get("stages").and_then(toml::Value::as_str);
            if stages.is_some_and(|stages| !stages.trim().is_empty()) {
                for key in ["steps", "epochs"] {
                    table.entry(key).or_insert(toml::Value::Integer(0));
                }
            }
        }
        let named = flags.get("preset").or_else(|| file.get("preset"));
        let preset = match named {
            Some(name) => typed_value(name.clone()).context("preset")?,
            None => Preset::Demo,
        };
        let config = Config::preset(preset);
        let named = flags.get("method").or_else(|| file.get("method"));
        let config = match named {
            Some(name) => config.with_method(typed_value(name.clone()).context("method")?),
            None => config,
        };
        let mut model = Table::try_from(config)?;
        let mut run = Table::try_from(RunSettings::preset(preset))?;
        for (key, value) in file.into_iter().chain(flags) {
            let table = match (model.contains_key(&key), run.contains_key(&key)) {
                (true, _) => &mut model,
                (_, true) => &mut run,
                _ => bail!("{}", unknown(&key, model.keys().chain(run.keys()))),
            };
            let value = as_expected(&table[&key], value);
            table.insert(key, value);
        }
        let settings = Settings {
            run: typed(run)?,
            model: typed(model)?,
        };
        settings.model.check()?;
        let RunSettings {
            sample_every,
            checkpoint_every,
            keep_checkpoints,
            ..
        } = settings.run;
        if sample_every == 0 || checkpoint_every == 0 || keep_checkpoints == 0 {
            bail!("sample_every, checkpoint_every and keep_checkpoints must be at least 1");
        }
        if settings.model.perceives() && settings.run.perceptual.as_os_str().is_empty() {
            bail!(
                "lambda_perceptual and lambda_style need the weights of a network: give those of a VGG16 or VGG19 \
                 as perceptual (`trainer evaluate RUN` says how to get one)"
            );
        }
        let of_cycle = matches!(settings.run.best, Best::LpipsCycle | Best::L1Cycle);
        if settings.run.eval_every > 0 && of_cycle && settings.model.method != Method::CycleGan {
            bail!(
                "best = {} is of a way back, which CUT has not; give kid, fid or identity",
                settings.run.best.key()
            );
        }
        if settings.run.eval_every > 0 && settings.run.features.as_os_str().is_empty() {
            bail!(
                "eval_every needs the weights of a network: give them as features (`trainer evaluate RUN` \
                 says how to get some)"
            );
        }
        Ok(settings)
    }

    /// The settings as TOML, without the folder: a run may be moved.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(&self.to_table()?)?)
    }

    fn to_table(&self) -> Result<Table> {
        let mut table = Table::try_from(&self.run)?;
        table.extend(Table::try_from(&self.model)?);
        table.remove("out");
        as_written(&mut table)?;
        Ok(table)
    }

    /// What a run that goes on with these settings, having had `old` ones, does otherwise: a line an option.
    ///
    /// # Errors
    /// When an option has changed that can't.
    pub fn changes(&self, old: &Settings) -> Result<Vec<String>> {
        let (new, old) = (self.to_table()?, old.to_table()?);
        let changed = new
            .iter()
            .filter(|(key, value)| old.get(*key) != Some(value));
        changed
            .map(|(key, value)| {
                let before = old
                    .get(key)
                    .map_or("nothing".into(), toml::Value::to_string);
                if let Some(reason) = fixed(key) {
                    bail!("{key} = {value} can't be given to a run that has {before}: {reason}");
                }
                Ok(format!("{key} = {value} instead of {before}"))
            })
            .collect()
    }

    /// Settings as [`Settings::to_toml`] wrote them.
    ///
    /// # Errors
    /// When the text is not such settings.
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::merge(parse(text)?, Table::new())
    }
}

/// The value that a configuration has for an option, as people write it.
pub fn shown(config: &Config, key: &str) -> String {
    let options = Table::try_from(config).unwrap_or_default();
    options
        .get(key)
        .map_or(String::new(), |value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        })
}

/// Why an option can't change once a run has begun, if so.
fn fixed(key: &str) -> Option<&'static str> {
    Some(match key {
        "decoder_norm" | "generator" | "ngf" | "discriminator" | "ndf" | "n_layers" | "norm"
        | "input_nc" | "output_nc" | "dropout" | "upsampling" | "spectral_norm"
        | "nce_features" | "global_layers" => {
            "its weights belong to other networks. Begin a new run for that"
        }
        "method" => "it has other networks. Begin a new run for that",
        "init" | "init_gain" => "its weights were drawn when it began. Begin a new run for that",
        "direction" => "its networks have learnt which domain is which. Begin a new run for that",
        "seed" => "the order of its pictures follows from it. Begin a new run for that",
        "gan_mode" => {
            "its discriminators have learnt to answer to the other loss. Begin a new run for that"
        }
        "preset" => {
            "a preset says what a run begins with. Give the options that shall change one by one"
        }
        _ => return None,
    })
}

fn origin(file: Option<&Path>) -> String {
    match file {
        Some(file) => format!("the options in {} and on the command line", file.display()),
        None => "the options on the command line".into(),
    }
}

fn flags_table(flags: &Options) -> Result<Table> {
    let mut table = Table::try_from(flags)?;
    as_written(&mut table)?;
    Ok(table)
}

/// Makes numbers what a user would write: 0.1f32 must not become 0.10000000149.
fn as_written(table: &mut Table) -> Result<()> {
    for (_, value) in table.iter_mut() {
        if let toml::Value::Float(float) = value {
            *float = (*float as f32).to_string().parse()?;
        }
    }
    Ok(())
}

fn read_table(path: &Path) -> Result<Table> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .with_context(|| {
            format!(
                "the configuration {} can't be read; check the path",
                path.display()
            )
        })?;
    parse(&text).with_context(|| format!("{} is no configuration", path.display()))
}

/// The most bytes of a configuration; all options together take about one thousand.
const LONGEST: u64 = 64 << 10;

fn parse(text: &str) -> Result<Table> {
    if text.len() as u64 > LONGEST {
        bail!("it is longer than {LONGEST} bytes");
    }
    // In one line, as all errors of the program.
    text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text[..start].matches('\n').count() + 1;
        let message = error.message().replace('\n', " ");
        anyhow!("it is not TOML: line {line}: {message}")
    })
}

/// A whole number counts as a real one, or as text, where that is expected.
fn as_expected(expected: &toml::Value, given: toml::Value) -> toml::Value {
    match (expected, given) {
        (toml::Value::Float(_), toml::Value::Integer(given)) => toml::Value::Float(given as f64),
        (toml::Value::String(_), toml::Value::Integer(given)) => {
            toml::Value::String(given.to_string())
        }
        (_, given) => given,
    }
}

/// A table as settings; the error names the key.
fn typed<T: DeserializeOwned>(table: Table) -> Result<T> {
    typed_value(toml::Value::Table(table))
}

fn typed_value<T: DeserializeOwned>(value: toml::Value) -> Result<T> {
    // In one line, as all errors of the program.
    value
        .try_into()
        .map_err(|error| anyhow!("{}", error.to_string().trim().replace('\n', " ")))
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    // Distances take memory in proportion to both lengths.
    if key.len() > 100 {
        return "an option's name is longer than any; `trainer train --help` lists them".into();
    }
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, nearest)) if distance <= nearest.len().div_ceil(2) => {
            format!("there is no option {key}; did you mean {nearest}?")
        }
        _ => format!("there is no option {key}; `trainer train --help` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(file: &str, flags: Options) -> Result<Settings> {
        Settings::merge(file.parse().unwrap(), flags_table(&flags).unwrap())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_preset() {
        let flags = Options {
            ngf: Some(8),
            ..Options::default()
        };
        let settings = merge("ngf = 16\nndf = 12\nlambda_a = 5", flags).unwrap();
        assert_eq!((settings.model.ngf, settings.model.ndf), (8, 12));
        assert_eq!(settings.model.lambda_a, 5.0);
        assert_eq!(settings.model.size, Config::preset(Preset::Demo).size);
    }

    #[test]
    fn the_file_can_name_the_preset() {
        let settings = merge("preset = \"paper\"", Options::default()).unwrap();
        assert_eq!(settings.model, Config::preset(Preset::Paper));
    }

    #[test]
    fn a_method_has_numbers_of_its_own_below_what_is_given() {
        let flags = Options {
            method: Some("fastcut".into()),
            pool_size: Some(5),
            ..Options::default()
        };
        let model = merge("lambda_nce = 3", flags).unwrap().model;
        assert_eq!((model.lambda_nce, model.pool_size), (3.0, 5));
        assert!(model.flip_equivariance && !model.nce_idt);
        let settings = merge("method = \"cut\"", Options::default()).unwrap();
        assert_eq!(settings.model.pool_size, 0);
        let text = settings.to_toml().unwrap();
        assert_eq!(Settings::from_toml(&text).unwrap(), settings);
    }

    #[test]
    fn a_style_may_be_given_as_the_number_that_it_is() {
        let settings = merge("style = 2", Options::default()).unwrap();
        assert_eq!(settings.run.style, "2");
    }

    #[test]
    fn unknown_keys_name_the_nearest_known_one() {
        let message = merge("lamda_a = 5.0", Options::default())
            .unwrap_err()
            .to_string();
        assert!(message.contains("did you mean lambda_a?"), "{message}");
        let message = merge("sample_evry = 5", Options::default())
            .unwrap_err()
            .to_string();
        assert!(message.contains("did you mean sample_every?"), "{message}");
    }

    #[test]
    fn epochs_on_the_command_line_replace_the_presets_steps() {
        let flags = Options {
            epochs: Some(3),
            ..Options::default()
        };
        assert_eq!(merge("", flags).unwrap().model.total_steps([10, 7]), 30);
    }

    #[test]
    fn stages_replace_the_steps_that_came_before_and_refuse_those_beside_them() {
        let staged = |stages: &str| Options {
            stages: Some(stages.into()),
            ..Options::default()
        };
        let total = |file: &str, flags| {
            let model = merge(file, flags).map_err(|error| error.to_string())?.model;
            Ok::<_, String>(model.total_steps([10, 7]))
        };
        assert_eq!(total("", staged("64:3,128:4")), Ok(7));
        assert_eq!(total("steps = 100", staged("64:3")), Ok(3));
        assert_eq!(total("stages = \"64:3\"", staged("64:5")), Ok(5));
        let plain = Options {
            steps: Some(9),
            ..staged("")
        };
        assert_eq!(total("stages = \"64:3\"", plain.clone()), Ok(9));
        let conflict = total("steps = 100\nstages = \"64:3\"", Options::default());
        assert!(conflict.unwrap_err().contains("steps = 100"));
        let both = Options {
            stages: Some("64:3".into()),
            ..plain
        };
        assert!(total("", both).unwrap_err().contains("leave one"));
        let epochs = Options {
            epochs: Some(2),
            ..staged("64:3")
        };
        assert!(total("", epochs).unwrap_err().contains("epochs = 2"));
        let settings = merge("", staged("64:3,128:4")).unwrap();
        let text = settings.to_toml().unwrap();
        assert_eq!(Settings::from_toml(&text).unwrap(), settings);
    }

    #[test]
    fn settings_survive_their_file() {
        let flags = Options {
            learning_rate: Some(0.1),
            ..Options::default()
        };
        let settings = merge("", flags).unwrap();
        assert_eq!(settings.model.learning_rate, 0.1);
        assert_eq!(
            Settings::from_toml(&settings.to_toml().unwrap()).unwrap(),
            settings
        );
    }

    #[test]
    fn what_is_absurdly_long_is_refused() {
        let long = "#".repeat(LONGEST as usize + 1);
        let error = Settings::from_toml(&long).unwrap_err().to_string();
        assert!(error.contains("longer than 65536 bytes"), "{error}");
        let key = format!("{} = 1", "a".repeat(LONGEST as usize / 2));
        let error = Settings::from_toml(&key).unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }

    #[test]
    fn values_of_the_wrong_type_name_their_key() {
        let message = merge("ngf = \"many\"", Options::default()).unwrap_err();
        assert!(format!("{message:#}").contains("ngf"), "{message:#}");
    }
}
