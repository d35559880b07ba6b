//! Writes HTML and SVG that is always balanced, and in which no text is taken for markup.

use std::fmt::{Display, Write as _};

/// A document in the making.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// An element, and what `inside` puts into it.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        inside: impl FnOnce(&mut Self),
    ) {
        self.tag(tag, attributes);
        self.0.push('>');
        inside(self);
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// An element with nothing but text.
    pub(super) fn line(
        &mut self,
        tag: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        text: impl Display,
    ) {
        self.element(tag, attributes, |markup| markup.text(text));
    }

    /// An element that can have no content: of HTML, or an empty one of SVG.
    pub(super) fn empty(&mut self, tag: &'static str, attributes: &[(&'static str, &dyn Display)]) {
        self.tag(tag, attributes);
        self.0.push_str("/>");
    }

    /// Text, whatever is in it.
    pub(super) fn text(&mut self, text: impl Display) {
        escape(&mut self.0, &text.to_string());
    }

    /// A part of this program that is markup, style or script already.
    pub(super) fn own(&mut self, part: &'static str) {
        self.0.push_str(part);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn tag(&mut self, tag: &'static str, attributes: &[(&'static str, &dyn Display)]) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            // Writing to a string can't fail.
            let _ = write!(self.0, " {name}=\"");
            escape(&mut self.0, &value.to_string());
            self.0.push('"');
        }
    }
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // HTML has no way to write the others.
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push('\u{FFFD}'),
            other => out.push(other),
        }
    }
}
