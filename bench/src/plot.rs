//! The plot: throughput beside its yardstick, how late deadlines were, and the storm.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Fallible;
use crate::numbers::{length, thousands};

const WIDTH: u32 = 960;
const HEAD_HEIGHT: u32 = 30;
const PANEL_HEIGHT: u32 = 300;
/// What the panel of the bars has besides them.
const BARS_FRAME_HEIGHT: u32 = 72;
/// Room for a bar, its yardstick and its words.
const BAR_HEIGHT: u32 = 57;
const FONT: &str = "sans-serif";
const MARGIN: u32 = 14;

const SERVICE: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const YARDSTICK: RGBColor = RGBColor(0xc3, 0xcc, 0xd6);
const FLOOR: RGBColor = RGBColor(0xc2, 0x3b, 0x22);
const OTHER: RGBColor = RGBColor(0xe0, 0x8a, 0x1e);

/// What is drawn.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Throughputs.
    pub(crate) bars: Vec<Bar>,
    /// How late each hold was heard to end.
    pub(crate) lateness_ms: Vec<f64>,
    /// What all but one in a hundred have to keep to.
    pub(crate) lateness_floor_ms: f64,
    /// What the storm looked like.
    pub(crate) storm: Vec<StormSample>,
}

/// A throughput beside its yardstick, all in answers a second.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) title: String,
    pub(crate) rate: f64,
    pub(crate) yardstick: f64,
    pub(crate) floor: Option<f64>,
}

/// A moment of the storm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StormSample {
    /// Since the deadline.
    pub(crate) after_ms: f64,
    /// Of the event whose holds end.
    pub(crate) free_seats: f64,
    /// Of the event that is booked meanwhile, so far.
    pub(crate) bookings: f64,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;
type Panel = fn(&Series, &Area<'_>) -> Drawn;

impl Series {
    /// Adds what another measurement has to show.
    pub(crate) fn extend(&mut self, other: Self) {
        self.bars.extend(other.bars);
        self.lateness_ms.extend(other.lateness_ms);
        self.lateness_floor_ms = self.lateness_floor_ms.max(other.lateness_floor_ms);
        self.storm.extend(other.storm);
    }

    /// Draws what there is, one panel for each kind. Writes no file if there is nothing.
    pub(crate) fn draw(&self, path: &Path, caption: &str) -> Fallible<bool> {
        let mut panels: Vec<(u32, Panel)> = Vec::new();
        if let Ok(bars @ 1..) = u32::try_from(self.bars.len()) {
            panels.push((BARS_FRAME_HEIGHT + BAR_HEIGHT * bars, Self::draw_bars));
        }
        if !self.lateness_ms.is_empty() {
            panels.push((PANEL_HEIGHT, Self::draw_lateness));
        }
        if !self.storm.is_empty() {
            panels.push((PANEL_HEIGHT, Self::draw_storm));
        }
        if panels.is_empty() {
            return Ok(false);
        }
        self.draw_panels(path, caption, &panels)
            .map_err(|error| format!("can't draw {}: {error}", path.display()))?;
        Ok(true)
    }

    fn draw_panels(&self, path: &Path, caption: &str, panels: &[(u32, Panel)]) -> Drawn {
        let height = HEAD_HEIGHT + panels.iter().map(|(height, _)| height).sum::<u32>();
        let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, mut rest) = root.split_vertically(HEAD_HEIGHT);
        head.draw(&Text::new(caption.to_owned(), (14, 10), (FONT, 13)))?;
        for (height, panel) in panels {
            let (area, below) = rest.split_vertically(*height);
            panel(self, &area)?;
            rest = below;
        }
        root.present()?;
        Ok(())
    }

    fn draw_bars(&self, area: &Area<'_>) -> Drawn {
        let most = self.bars.iter().map(|bar| bar.yardstick.max(bar.rate)).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(
                "Answers a second: the service, its yardstick (grey), its floor (red)",
                (FONT, 16),
            )
            .margin(MARGIN)
            .x_label_area_size(26)
            .build_cartesian_2d(0.0..most * 1.15, 0.0..length(self.bars.len()))?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_label_formatter(&|rate| thousands(*rate))
            .draw()?;
        for (index, bar) in self.bars.iter().enumerate() {
            let top = length(self.bars.len() - index);
            let box_of = |rate: f64, low: f64, high: f64| [(0.0, top - low), (rate, top - high)];
            let (yardstick, rate) =
                (box_of(bar.yardstick, 0.78, 0.90), box_of(bar.rate, 0.36, 0.76));
            let words = format!("{}: {}/s", bar.title, thousands(bar.rate));
            chart.draw_series([
                Rectangle::new(yardstick, YARDSTICK.filled()),
                Rectangle::new(rate, SERVICE.filled()),
            ])?;
            let mark = bar.floor.map(|floor| vec![(floor, top - 0.32), (floor, top - 0.92)]);
            chart.draw_series(mark.map(|mark| PathElement::new(mark, FLOOR.stroke_width(2))))?;
            chart.draw_series([Text::new(words, (most * 0.004, top - 0.10), (FONT, 14))])?;
        }
        Ok(())
    }

    fn draw_lateness(&self, area: &Area<'_>) -> Drawn {
        let mut sorted = self.lateness_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let most = sorted.last().copied().unwrap_or(0.0).max(self.lateness_floor_ms * 1.1);
        let mut chart = ChartBuilder::on(area)
            .caption(
                "Deadline to seats free, as a watcher hears of it: share of holds, by ms",
                (FONT, 16),
            )
            .margin(MARGIN)
            .x_label_area_size(26)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..most, 0.0..100.0)?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .y_label_formatter(&|share| format!("{share:.0} %"))
            .draw()?;
        let count = length(sorted.len());
        let shares = sorted.iter().enumerate();
        let line = shares.map(|(index, late)| (*late, length(index + 1) * 100.0 / count));
        chart.draw_series(LineSeries::new(line, SERVICE.stroke_width(2)))?;
        let floor = vec![(self.lateness_floor_ms, 0.0), (self.lateness_floor_ms, 99.0)];
        chart.draw_series([PathElement::new(floor, FLOOR.stroke_width(2))])?;
        Ok(())
    }

    fn draw_storm(&self, area: &Area<'_>) -> Drawn {
        let seats = self.storm.iter().map(|sample| sample.free_seats).fold(1.0, f64::max);
        let rates = rates(&self.storm);
        let most = rates.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
        let (from, until) = match (self.storm.first(), self.storm.last()) {
            (Some(first), Some(last)) => (first.after_ms / 1e3, last.after_ms / 1e3),
            _ => return Ok(()),
        };
        let mut chart = ChartBuilder::on(area)
            .caption(
                "Storm: free seats (blue, left) and bookings a second on another event (orange, right), by s after the deadline",
                (FONT, 16),
            )
            .margin(MARGIN)
            .x_label_area_size(26)
            .y_label_area_size(64)
            .right_y_label_area_size(64)
            .build_cartesian_2d(from..until, 0.0..seats * 1.05)?
            .set_secondary_coord(from..until, 0.0..most * 1.05);
        chart
            .configure_mesh()
            .max_light_lines(0)
            .y_label_formatter(&|seats| thousands(*seats))
            .draw()?;
        chart.configure_secondary_axes().y_label_formatter(&|rate| thousands(*rate)).draw()?;
        let free = self.storm.iter().map(|sample| (sample.after_ms / 1e3, sample.free_seats));
        chart.draw_series(LineSeries::new(free, SERVICE.stroke_width(2)))?;
        chart.draw_secondary_series(LineSeries::new(rates, OTHER.stroke_width(2)))?;
        Ok(())
    }
}

/// Bookings a second, over a quarter of a second each.
fn rates(samples: &[StormSample]) -> Vec<(f64, f64)> {
    let mut rates = Vec::new();
    let mut samples = samples.iter();
    let Some(mut from) = samples.next() else { return rates };
    for sample in samples {
        let span_ms = sample.after_ms - from.after_ms;
        if span_ms >= 250.0 {
            let rate = (sample.bookings - from.bookings) * 1e3 / span_ms;
            rates.push((f64::midpoint(from.after_ms, sample.after_ms) / 1e3, rate));
            from = sample;
        }
    }
    rates
}
