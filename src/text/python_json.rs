//! JSON as Python's `json.dumps` writes it: what chat templates' `tojson` means.

use std::io::{Result, Write};

use serde_json::ser::{CharEscape, Formatter};

/// `json.dumps(value, ensure_ascii, indent, separators)`.
pub(super) struct PythonJson {
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    ensure_ascii: bool,
    depth: usize,
    is_empty: bool,
}

impl PythonJson {
    /// `separators`: between items, between key and value; Python's own defaults depend on `indent`.
    pub(super) fn new(indent: Option<String>, separators: Option<(String, String)>, ensure_ascii: bool) -> PythonJson {
        let item = if indent.is_some() { "," } else { ", " };
        let (item_separator, key_separator) = separators.unwrap_or((item.into(), ": ".into()));
        PythonJson {
            indent,
            item_separator,
            key_separator,
            ensure_ascii,
            depth: 0,
            is_empty: true,
        }
    }

    fn new_line(&self, writer: &mut (impl ?Sized + Write)) -> Result<()> {
        match &self.indent {
            None => Ok(()),
            Some(indent) => write!(writer, "\n{}", indent.repeat(self.depth)),
        }
    }

    fn open(&mut self, writer: &mut (impl ?Sized + Write), bracket: &[u8]) -> Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(bracket)
    }

    fn close(&mut self, writer: &mut (impl ?Sized + Write), bracket: &[u8]) -> Result<()> {
        self.depth -= 1;
        if !self.is_empty {
            self.new_line(writer)?;
        }
        self.is_empty = false;
        writer.write_all(bracket)
    }

    fn item(&mut self, writer: &mut (impl ?Sized + Write), first: bool) -> Result<()> {
        self.is_empty = false;
        if !first {
            writer.write_all(self.item_separator.as_bytes())?;
        }
        self.new_line(writer)
    }
}

impl Formatter for PythonJson {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.open(writer, b"[")
    }
    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.close(writer, b"]")
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.item(writer, first)
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.open(writer, b"{")
    }
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.close(writer, b"}")
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.item(writer, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        writer.write_all(self.key_separator.as_bytes())
    }
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> Result<()> {
        writer.write_all(repr(value).as_bytes())
    }
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> Result<()> {
        for character in fragment.chars() {
            // DEL is ASCII to Python, and stays.
            if !self.ensure_ascii || character.is_ascii() {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

/// A float as Python's `repr` writes it: the shortest digits that are read back the same, with an exponent below 1e-4 and
/// from 1e16 on.
fn repr(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::repr;

    #[test]
    fn floats_are_python_s() {
        for (value, expected) in [
            (1e-7, "1e-07"),
            (1e16, "1e+16"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e15, "1000000000000000.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5, "-2.5"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (100.0, "100.0"),
        ] {
            assert_eq!(repr(value), expected);
        }
    }
}
