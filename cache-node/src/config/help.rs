//! The text of `--help`.

use super::settings::Settings;
use super::table::OPTIONS;

/// All options in groups, with their defaults.
pub fn help() -> String {
    let defaults = Settings::default();
    let mut text = String::from(
        "cache-node: a Redis-compatible, slot-sharded cache server\n\n\
         Usage: cache-node [FILE] [--NAME VALUE ...]\n\n\
         FILE holds one 'NAME VALUE' directive a line. Every option can also be given in the environment, as CACHE_NODE_<NAME>.\n\
         Flags win over the environment, and that over FILE.\n",
    );
    let mut group = "";
    for option in OPTIONS {
        if option.group != group {
            group = option.group;
            text.push_str(&format!("\n{group}:\n"));
        }
        let default = match option.show(&defaults) {
            value if value.is_empty() => "''".to_owned(),
            value => value,
        };
        text.push_str(&format!(
            "  --{} {}\n      {} [default: {default}]\n",
            option.name, option.form, option.help
        ));
    }
    text.push_str("\nOther:\n  --help\n  --version\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_stands_together_once() {
        let text = help();
        for group in ["Network", "Cluster", "Memory", "Persistence"] {
            assert_eq!(text.matches(&format!("\n{group}:\n")).count(), 1, "{group}");
        }
    }
}
