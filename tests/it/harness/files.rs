//! The directory of one gateway: its two configuration files, and edits as people make them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::stamp::Stamp;

/// gateway.toml, key by key, so that a test names only what it changes.
#[derive(Clone, Debug)]
pub struct Settings {
    listener: BTreeMap<String, String>,
    tables: BTreeMap<String, BTreeMap<String, String>>,
}

impl Settings {
    /// What every test starts from: everything on port 0, fast reloads.
    pub fn new() -> Self {
        let mut settings = Self { listener: BTreeMap::new(), tables: BTreeMap::new() };
        for (table, key, value) in [
            ("listener", "name", "\"public\""),
            ("listener", "bind", "\"127.0.0.1:0\""),
            // Below half of the files that any machine lets a process open.
            ("listener", "max_connections", "5_000"),
            ("node", "id", "\"gw-test\""),
            ("runtime", "workers", "2"),
            ("routing", "file", "\"routing.toml\""),
            ("routing", "debounce", "\"20ms\""),
            ("state", "directory", "\"state\""),
            ("admin", "bind", "\"127.0.0.1:0\""),
            ("access_log", "path", "\"stdout\""),
        ] {
            settings.set(table, key, value);
        }
        settings
    }

    /// Sets one key; the value is TOML.
    pub fn set(&mut self, table: &str, key: &str, value: &str) {
        let keys = match table {
            "listener" => &mut self.listener,
            table => self.tables.entry(table.into()).or_default(),
        };
        let _former = keys.insert(key.into(), value.into());
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = "version = 1\n".to_owned();
        let listener = [("[listener]".to_owned(), &self.listener)];
        let tables = self.tables.iter().map(|(name, keys)| (name.clone(), keys));
        for (name, keys) in listener.into_iter().chain(tables) {
            text += &format!("[{name}]\n");
            for (key, value) in keys {
                text += &format!("{key} = {value}\n");
            }
        }
        text
    }
}

/// Health that is noticed within a fraction of a second.
const FAST: &str = r#"version = 1
[defaults.stamp.health]
path = "/healthz"
interval = "100ms"
timeout = "1s"
fall = 2
rise = 2
[defaults.stamp.failback]
hold = "300ms"
ramp = "0s"
"#;

/// routing.toml: `text` after fast defaults, with `{stamp_NAME}` replaced by that stamp's address.
pub fn routing(text: &str, stamps: &[&Stamp]) -> String {
    routing_without_defaults(&format!("{FAST}{text}"), stamps)
}

/// `text` as it stands, with `{stamp_NAME}` replaced by that stamp's address.
pub fn routing_without_defaults(text: &str, stamps: &[&Stamp]) -> String {
    let mut text = text.to_owned();
    for stamp in stamps {
        let place = format!("{{stamp_{}}}", stamp.name);
        text = text.replace(&place, &stamp.address.to_string());
    }
    assert!(!text.contains("{stamp_"), "an address is missing: {text}");
    text
}

/// The directory that a gateway runs in.
#[derive(Debug)]
pub struct Directory {
    root: tempfile::TempDir,
}

impl Directory {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    /// A path in here.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file in place, as a script would.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a file as an editor does: beside it, then renamed over it.
    pub fn replace(&self, name: &str, text: &str) {
        let beside = format!("{name}.tmp~");
        self.write(&beside, text);
        fs::rename(self.path(&beside), self.path(name)).unwrap();
    }

    /// Makes `name` a symlink to `target`, replacing a former one in one step.
    pub fn link(&self, name: &str, target: &str) {
        let beside = self.path(&format!("{name}.tmp~"));
        std::os::unix::fs::symlink(Path::new(target), &beside).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }

    /// The text of a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }
}
