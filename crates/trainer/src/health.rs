//! What usually goes wrong in training, noticed from numbers that are there anyway, with what usually helps.

use std::collections::BTreeMap;

use cyclegan::{Losses, Method};
use nn::GanMode;

use crate::sample::Statistics;

/// Steps over which losses are looked at.
const WINDOW: u64 = 200;

/// A discriminator whose mean loss is below this share of what guessing gives makes no mistakes.
const SURE: f32 = 0.04;
/// One whose losses deviate from what guessing gives by less than this share of it answers all alike.
const BLIND: f32 = 0.01;
/// Brightness that correlates less with that of the input is inverted.
const INVERTED: f32 = -0.3;
/// Translations that vary less, as a share of their inputs, are all the same.
const MONOTONOUS: f32 = 0.03;

/// What was noticed of a run. Each thing is said once, and again only when it had gone away.
pub struct Health {
    method: Method,
    /// The loss of a discriminator that guesses.
    guessing: Option<f32>,
    /// By name.
    discriminators: BTreeMap<&'static str, Window>,
    /// By the domain that is translated.
    inverted: BTreeMap<&'static str, bool>,
    monotonous: BTreeMap<&'static str, bool>,
}

/// The losses of a discriminator over some steps.
#[derive(Default)]
struct Window {
    steps: u64,
    sum: f32,
    /// The largest distance from guessing.
    off: f32,
    is_sure: bool,
    is_blind: bool,
}

impl Health {
    /// Nothing noticed yet.
    pub fn new(gan_mode: GanMode, method: Method) -> Self {
        Health {
            method,
            guessing: match gan_mode {
                GanMode::Lsgan => Some(0.25),
                GanMode::Vanilla => Some(std::f32::consts::LN_2),
                GanMode::Hinge => Some(1.0),
                GanMode::Wgangp => None,
            },
            discriminators: BTreeMap::new(),
            inverted: BTreeMap::new(),
            monotonous: BTreeMap::new(),
        }
    }

    /// Takes note of a step's losses.
    pub fn step(&mut self, losses: &Losses<f32>) -> Vec<String> {
        let mut said = Vec::new();
        let Some(guessing) = self.guessing else {
            return said;
        };
        let each = losses.named();
        for (d, loss) in each.filter(|(name, _)| Losses::<f32>::is_of_discriminator(name)) {
            let g = d.replacen('D', "G", 1);
            let [sure, blind] = self
                .discriminators
                .entry(d)
                .or_default()
                .push(*loss, guessing);
            if sure {
                said.push(format!(
                    "{d} tells every fake from a picture (its loss was {SURE} of a guess's or less for {WINDOW} \
                     steps), so that {g} learns little from it. More pictures help, \
                     --diffaugment color,translation,cutout where there are few, or a smaller --ndf"
                ));
            }
            if blind {
                said.push(format!(
                    "{d} gives the same answer to everything (its loss was that of a guess for {WINDOW} steps), \
                     so that {g} learns nothing from it. A lower --learning-rate usually helps, or a new \
                     --seed"
                ));
            }
        }
        said
    }

    /// Takes note of a sample sheet.
    pub fn sampled(&mut self, statistics: &Statistics) -> Vec<String> {
        let mut said = Vec::new();
        for strikes in &statistics.0 {
            let (domain, correlation) = (strikes.domain, strikes.correlation);
            let inverted = self.inverted.entry(domain).or_default();
            if becomes(inverted, correlation < INVERTED) {
                let helps = match self.method {
                    Method::CycleGan => "--lambda-identity 0.5 or more",
                    Method::Cut | Method::FastCut => "--nce-idt true",
                };
                said.push(format!(
                    "G_{domain} inverts brightness (it correlates by {correlation:.2} with the input's). Where that \
                     stays, go back or begin anew with another --seed and {helps}"
                ));
            }
            let variety = strikes.variety;
            let monotonous = self.monotonous.entry(domain).or_default();
            if becomes(monotonous, variety < MONOTONOUS) {
                let helps = match self.method {
                    Method::CycleGan => "a larger --lambda-a and --lambda-b",
                    Method::Cut | Method::FastCut => "a larger --lambda-nce",
                };
                said.push(format!(
                    "G_{domain} makes nearly the same picture of everything (they vary {variety:.3} times as much as \
                     its inputs). Early on that passes; later {helps} or another --seed usually help"
                ));
            }
        }
        said
    }
}

impl Window {
    /// Takes note of a loss; whether the discriminator turns out to be sure, or blind.
    fn push(&mut self, loss: f32, guessing: f32) -> [bool; 2] {
        self.steps += 1;
        self.sum += loss;
        // What is no number is off, too.
        let off = (loss - guessing).abs();
        self.off = if off <= self.off { self.off } else { off };
        if self.steps < WINDOW {
            return [false; 2];
        }
        let mean = self.sum / self.steps as f32;
        let turned = [
            becomes(&mut self.is_sure, mean < SURE * guessing),
            becomes(&mut self.is_blind, self.off < BLIND * guessing),
        ];
        (self.steps, self.sum, self.off) = (0, 0.0, 0.0);
        turned
    }
}

/// Sets a state, and says whether it is newly true.
fn becomes(state: &mut bool, now: bool) -> bool {
    !std::mem::replace(state, now) && now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::OfDomain;

    fn losses(d_a: f32, d_b: f32) -> Losses<f32> {
        let terms = [("G_A", 0.5), ("G_B", 0.5), ("D_A", d_a), ("D_B", d_b)];
        terms.into_iter().collect()
    }

    /// What is said over so many steps.
    fn said(health: &mut Health, steps: u64, loss: impl Fn(u64) -> Losses<f32>) -> Vec<String> {
        (0..steps)
            .flat_map(|step| health.step(&loss(step)))
            .collect()
    }

    #[test]
    fn discriminators_that_know_all_or_nothing_are_noticed_once() {
        let mut health = Health::new(GanMode::Lsgan, Method::CycleGan);
        let usual = |step: u64| losses(0.1 + 0.2 * (step % 2) as f32, 0.2);
        assert!(said(&mut health, 1000, usual).is_empty());
        let sure = said(&mut health, 1000, |_| losses(0.001, 0.2));
        assert_eq!(sure.len(), 1);
        assert!(sure[0].contains("D_A tells every fake"), "{}", sure[0]);
        let blind = said(&mut health, 1000, |step| losses(usual(step)["D_A"], 0.2501));
        assert_eq!(blind.len(), 1);
        assert!(
            blind[0].contains("D_B gives the same answer"),
            "{}",
            blind[0]
        );
        assert_eq!(
            said(&mut health, 400, |_| losses(0.001, 0.2)).len(),
            1,
            "again"
        );
        // What no number is, is neither.
        assert!(
            said(
                &mut Health::new(GanMode::Lsgan, Method::CycleGan),
                400,
                |_| losses(f32::NAN, 0.2)
            )
            .is_empty()
        );
    }

    #[test]
    fn inversion_and_monotony_are_noticed_on_sheets() {
        let mut health = Health::new(GanMode::Lsgan, Method::CycleGan);
        let of = |domain, correlation, variety| OfDomain {
            domain,
            correlation,
            variety,
        };
        let sheet = |correlation, variety| {
            Statistics(vec![of("A", 0.5, variety), of("B", correlation, 0.5)])
        };
        assert!(health.sampled(&sheet(0.4, 0.6)).is_empty());
        let both = health.sampled(&sheet(-0.6, 0.01));
        assert_eq!(both.len(), 2);
        assert!(both[0].contains("G_A makes nearly the same"), "{}", both[0]);
        assert!(both[1].contains("G_B inverts brightness"), "{}", both[1]);
        assert!(health.sampled(&sheet(-0.7, 0.01)).is_empty());
    }
}
