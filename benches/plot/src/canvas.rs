//! An image, with coordinates in points and the colours of a light or a dark theme.

use crate::{chart::Role, style::Theme};
use plotters::{
    coord::Shift,
    element::{Circle, PathElement, Rectangle, Text},
    prelude::{DrawingArea, DrawingAreaErrorKind, DrawingBackend},
    style::{
        Color, FontStyle, IntoFont, RGBColor, ShapeStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

pub(crate) type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// An image in a format that `plotters` can write, such as SVG or PNG.
pub(crate) struct Canvas<'a, B: DrawingBackend> {
    area: DrawingArea<B, Shift>,
    theme: &'a Theme,
    /// Pixels for each point.
    scale: f64,
}

/// The style of a text.
#[derive(Clone, Copy)]
pub(crate) enum Writing {
    Title,
    Label,
    Dim,
}

/// Which part of a text is at the given coordinates.
#[derive(Clone, Copy)]
pub(crate) enum At {
    Start,
    Middle,
    End,
}

impl<'a, B: DrawingBackend> Canvas<'a, B> {
    pub(crate) fn new(
        area: DrawingArea<B, Shift>,
        theme: &'a Theme,
        scale: f64,
    ) -> Result<Self, DrawingAreaErrorKind<B::ErrorType>> {
        area.fill(&rgb(theme.back))?;
        Ok(Self { area, theme, scale })
    }

    /// The colour of a role.
    pub(crate) fn of(&self, role: Role) -> &'static str {
        match role {
            Role::Ours => self.theme.data[0],
            Role::Peer => self.theme.data[1],
            Role::Floor => self.theme.dim,
        }
    }

    pub(crate) fn theme(&self) -> &'a Theme {
        self.theme
    }

    /// Draws a text that is centred vertically on `y`. `at` says which part of the text is at `x`.
    pub(crate) fn text(&self, (x, y): (f64, f64), writing: Writing, at: At, text: &str) -> Drawn<B> {
        let (size, weight, colour) = self.writing(writing);
        let at = match at {
            At::Start => HPos::Left,
            At::Middle => HPos::Center,
            At::End => HPos::Right,
        };
        let style = ("sans-serif", size, weight).into_font().color(&rgb(colour));
        self.area.draw(&Text::new(text, self.at((x, y)), style.pos(Pos::new(at, VPos::Center))))
    }

    /// The width of a text.
    pub(crate) fn width(&self, writing: Writing, text: &str) -> f64 {
        let (size, weight, _) = self.writing(writing);
        let style = ("sans-serif", size, weight).into_font().into();
        let width = self.area.estimate_text_size(text, &style).map_or(0, |(width, _)| width);
        f64::from(width) / self.scale
    }

    pub(crate) fn line(&self, colour: &str, width: u32, points: &[(f64, f64)]) -> Drawn<B> {
        let points: Vec<_> = points.iter().map(|point| self.at(*point)).collect();
        self.area.draw(&PathElement::new(points, self.stroke(colour, width)))
    }

    pub(crate) fn dot(&self, colour: &str, at: (f64, f64), radius: f64) -> Drawn<B> {
        self.area.draw(&Circle::new(self.at(at), radius * self.scale, rgb(colour).filled()))
    }

    pub(crate) fn bar(&self, colour: &str, from: (f64, f64), to: (f64, f64)) -> Drawn<B> {
        self.area.draw(&Rectangle::new([self.at(from), self.at(to)], rgb(colour).filled()))
    }

    /// A mixture of the background and this share of a colour.
    pub(crate) fn mixed(&self, colour: &str, share: f64) -> String {
        let (colour, back) = (rgb(colour), rgb(self.theme.back));
        let part = |one: u8, other: u8| (f64::from(one) * share + f64::from(other) * (1.0 - share)) as u8;
        let parts = [part(colour.0, back.0), part(colour.1, back.1), part(colour.2, back.2)];
        format!("#{:02x}{:02x}{:02x}", parts[0], parts[1], parts[2])
    }

    /// Writes the image.
    pub(crate) fn finish(&self) -> Drawn<B> {
        self.area.present()
    }

    fn writing(&self, writing: Writing) -> (f64, FontStyle, &'static str) {
        let (size, weight, colour) = match writing {
            Writing::Title => (16.5, FontStyle::Bold, self.theme.text),
            Writing::Label => (13.0, FontStyle::Normal, self.theme.text),
            Writing::Dim => (12.5, FontStyle::Normal, self.theme.dim),
        };
        (size * self.scale, weight, colour)
    }

    fn stroke(&self, colour: &str, width: u32) -> ShapeStyle {
        ShapeStyle { color: rgb(colour).into(), filled: false, stroke_width: width * self.scale as u32 }
    }

    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }
}

/// A colour such as `#1f2328`.
fn rgb(text: &str) -> RGBColor {
    let part = |from: usize| u8::from_str_radix(text.get(from..from + 2).unwrap_or("0"), 16).unwrap_or(0);
    RGBColor(part(1), part(3), part(5))
}
