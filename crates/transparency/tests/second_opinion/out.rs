//! Where everything is written: files, and a line for each case in `cases.tsv`.

use std::fs;
use std::path::PathBuf;

use undertone_transparency::checkpoint::{SignedCheckpoint, origin};
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{Bundle, Tile, TilePath};
use undertone_transparency::note::LogKey;

use crate::server::{Log, Server};

pub struct Out {
    root: PathBuf,
    cases: String,
}

impl Out {
    pub fn new(path: &str) -> Self {
        Self { root: path.into(), cases: String::new() }
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.root.join(name)).unwrap()
    }

    /// A case: its name, the rule that is broken or `ok`, and the auditor's arguments, with `@` before paths.
    pub fn case(&mut self, name: &str, verdict: &str, arguments: &[&str]) {
        self.cases += &format!("{name}\t{verdict}\t{}\n", arguments.join("\t"));
    }

    /// A log's tiles, entries and checkpoint.
    pub fn log(&self, folder: &str, log: &Log, checkpoint: &SignedCheckpoint) {
        self.write(&format!("{folder}/checkpoint"), checkpoint.to_bytes());
        for tile in Tile::added(0, log.size()) {
            let Ok(bytes) = tile.read(log);
            self.write(&format!("{folder}/{}", TilePath::Tile(tile)), bytes);
            if tile.level() == 0 {
                let bundle = Bundle::at(tile.index(), log.size()).unwrap();
                let first = bundle.first() as usize;
                let leaves = &log.0[first..first + usize::from(tile.width())];
                let entries: Vec<Vec<u8>> = leaves.iter().map(Leaf::to_bytes).collect();
                self.write(&format!("{folder}/{}", TilePath::Entries(bundle)), bundle.encode(&entries).unwrap());
            }
        }
    }

    pub fn audits(&self, folder: &str, server: &Server) {
        use undertone_transparency::directory::AppendOnlyProof;
        for epoch in 1..=server.world.epoch() {
            let proof = AppendOnlyProof::from_akd(&server.world.audit(epoch)).unwrap();
            self.write(&format!("{folder}/audit/{epoch}"), proof.to_bytes());
        }
    }

    pub fn finish(&self) {
        self.write("cases.tsv", &self.cases);
    }
}

pub fn log_key(server: &Server) -> String {
    LogKey::new(origin("example.org").unwrap(), *server.key.public()).to_string()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
