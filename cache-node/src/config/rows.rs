//! How a row of the table of options is written.
//!
//! What the macros name is looked up where they are used.

use super::options::Setting;
use super::settings::Settings;

/// An option: how it is shown and read, and what the help says.
pub(super) const fn option(
    group: &'static str,
    name: &'static str,
    form: &'static str,
    help: &'static str,
    show: fn(&Settings) -> String,
    read: fn(&mut Settings, &str) -> Result<(), String>,
) -> Setting {
    Setting {
        name,
        group,
        form,
        help,
        live: true,
        secret: false,
        alias: None,
        show,
        read,
    }
}

impl Setting {
    /// The same, for start-up only.
    pub(super) const fn fixed(mut self) -> Self {
        self.live = false;
        self
    }

    /// The same, with a value that refusals do not repeat.
    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The same with an older name.
    pub(super) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }
}

/// A number held in a field.
macro_rules! number {
    ($group:literal, $name:literal, $range:expr, $field:ident, $help:literal) => {
        option(
            $group,
            $name,
            "N",
            $help,
            |settings| settings.$field.to_string(),
            |settings, value| {
                settings.$field = number(value, $range)?;
                Ok(())
            },
        )
    };
}

/// Text held in a field.
macro_rules! text {
    ($group:literal, $name:literal, $form:literal, $field:ident, $help:literal) => {
        option(
            $group,
            $name,
            $form,
            $help,
            |settings| settings.$field.clone(),
            |settings, value| {
                settings.$field = value.to_owned();
                Ok(())
            },
        )
    };
}

/// A size held in a field.
macro_rules! size {
    ($group:literal, $name:literal, $range:expr, $field:ident, $help:literal) => {
        option(
            $group,
            $name,
            "BYTES",
            $help,
            |settings| settings.$field.to_string(),
            |settings, value| {
                let (bytes, allowed): (usize, std::ops::RangeInclusive<usize>) =
                    (size(value)?, $range);
                if !allowed.contains(&bytes) {
                    let (least, most) = (allowed.start(), allowed.end());
                    return Err(format!("must be a size from {least} to {most}"));
                }
                settings.$field = bytes;
                Ok(())
            },
        )
    };
}

/// Yes or no, held in a field.
macro_rules! switch {
    ($group:literal, $name:literal, $field:ident, $help:literal) => {
        option(
            $group,
            $name,
            "yes|no",
            $help,
            |settings| show_yes_no(settings.$field),
            |settings, value| {
                settings.$field = yes_no(value)?;
                Ok(())
            },
        )
    };
}

/// An option that is known by name and has only one value here.
macro_rules! constant {
    ($group:literal, $name:literal, $only:literal, $why:literal) => {
        option(
            $group,
            $name,
            concat!("'", $only, "'"),
            concat!("Only '", $only, "': ", $why, "."),
            |_| $only.to_owned(),
            |_, value| {
                if value == $only {
                    Ok(())
                } else {
                    Err(concat!("must be '", $only, "': ", $why).to_owned())
                }
            },
        )
    };
}

pub(super) use {constant, number, size, switch, text};
