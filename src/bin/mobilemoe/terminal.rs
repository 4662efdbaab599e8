//! What the commands show: text on stdout, progress on stderr, files written.

use std::{
    fs::File,
    io::{ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use mobilemoe_web::{Result, checkpoint::CheckpointError};

/// Writes to stdout; a reader that went away (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritable(Path::new("stdout"), &error)),
        _ => Ok(()),
    }
}

/// Bold, if stdout is a terminal that wants colours.
pub fn bold(text: &str) -> String {
    let styled = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if styled {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.into()
    }
}

/// A bar on stderr that counts bytes; invisible where stderr is no terminal.
pub fn bytes_bar(action: &'static str, total_bytes: u64) -> ProgressBar {
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total_bytes).with_style(style).with_message(action)
}

/// A bar on stderr that counts steps and names the one under way; invisible where stderr is no terminal.
pub fn steps_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{pos}/{len} {wide_msg} {elapsed}");
    ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// 713916240 -> "713,916,240"
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

/// 713916240 -> "714 MB"; three digits, decimal units as file sizes are published.
pub fn short_bytes(bytes: u64) -> String {
    let (value, unit) = scaled(bytes);
    if unit.is_empty() {
        format!("{value} B")
    } else {
        format!("{value} {unit}B").replace("BB", "GB").replace("KB", "kB")
    }
}

/// 1263214080 -> "1.26B"
pub fn short_count(count: u64) -> String {
    let (value, unit) = scaled(count);
    format!("{value}{unit}")
}

fn scaled(number: u64) -> (String, &'static str) {
    let units = [(1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K")];
    let Some((size, unit)) = units.into_iter().find(|(size, _)| number >= *size) else {
        return (number.to_string(), "");
    };
    let value = number as f64 / size as f64;
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    (format!("{value:.decimals$}"), unit)
}

/// Files of a new checkpoint: written under other names, and renamed when all are whole.
pub struct NewFiles {
    directory: PathBuf,
    files: Vec<(String, File)>,
}

impl NewFiles {
    /// Makes the directory if need be. Refuses one that already holds a checkpoint.
    pub fn create(directory: &Path) -> Result<NewFiles> {
        if let Some(file) = ["config.json", "model.safetensors", "model.safetensors.index.json"]
            .into_iter()
            .find(|file| directory.join(file).exists())
        {
            let reason = "it already exists; choose another directory or remove it".into();
            return Err(CheckpointError::Write {
                file: directory.join(file).display().to_string(),
                reason,
            }
            .into());
        }
        std::fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))?;
        Ok(NewFiles {
            directory: directory.into(),
            files: Vec::new(),
        })
    }

    /// The file of that name, created when first asked for.
    pub fn file(&mut self, name: &str) -> Result<&mut File> {
        let found = self.files.iter().position(|(known, _)| known == name);
        let index = match found {
            Some(index) => index,
            None => {
                let path = self.partial(name);
                let file = File::create(&path).map_err(|error| unwritable(&path, &error))?;
                self.files.push((name.into(), file));
                self.files.len() - 1
            }
        };
        Ok(&mut self.files[index].1)
    }

    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.partial(name);
        self.file(name)?
            .write_all(bytes)
            .map_err(|error| unwritable(&path, &error))
    }

    /// Gives all files their names.
    pub fn finish(mut self) -> Result<()> {
        for (name, _) in std::mem::take(&mut self.files) {
            let path = self.directory.join(&name);
            std::fs::rename(self.partial(&name), &path).map_err(|error| unwritable(&path, &error))?;
        }
        Ok(())
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.partial"))
    }
}

/// Whatever was not finished is removed.
impl Drop for NewFiles {
    fn drop(&mut self) {
        for (name, _) in &self.files {
            let _ = std::fs::remove_file(self.partial(name));
        }
    }
}

pub fn unwritable(path: &Path, error: &std::io::Error) -> mobilemoe_web::Error {
    CheckpointError::Write {
        file: path.display().to_string(),
        reason: error.to_string(),
    }
    .into()
}
