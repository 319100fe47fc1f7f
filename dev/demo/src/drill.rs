//! A drill: the server lies about its key directory, as far as one can lie with an honest program and false data. Its operator
//! puts yesterday's copy back, and lets somebody register on it. A device and a witness who have seen more both find out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::Context;
use undertone_testkit::process::result;
use undertone_testkit::{Look, ServerProcess, Terminal, Witness};

use crate::table::Table;
use crate::watched::{self, claim_proven, rely_on, witnesses};

/// What the server knows of accounts, and its key directory.
const DATABASES: [&str; 2] = ["directory.db", "undertone.db"];

pub(crate) fn play() -> anyhow::Result<Table> {
    println!("A server starts, and a witness looks at its key directory; ada and bob register ...");
    let (mut server, witness) = watched::start("demo-drill")?;
    let ada = register(&server, "ada")?;
    register(&server, "bob")?;
    let key = witness.look()?.key()?;
    rely_on(&server.join("ada"), &key)?;
    server.end()?;
    let yesterday = Copies::of(&server.data())?;
    server.start_again()?;
    println!("carol registers, and ada and the witness see her in the log ...");
    register(&server, "carol")?;
    let mut table = Table::new("Scene: a drill, in which the server lies");
    claim_cosigned(&mut table, "the witness, all being well", &witness.look()?);
    claim_proven(&mut table, &server, ("ada", &ada), "carol")?;
    server.end()?;
    let today = Copies::of(&server.data())?;

    println!("The server is told to lie: it takes back what it has said of carol ...");
    yesterday.put_back()?;
    server.start_again()?;
    claim_refused(&mut table, "1", &server, &ada, false)?;
    claim_accused(&mut table, "1", &witness.look()?);

    println!("It says something else in its place: dave registers, and the log is as long as the true one ...");
    let dave = register(&server, "dave")?;
    claim_refused(&mut table, "2", &server, &ada, true)?;
    claim_accused(&mut table, "2", &witness.look()?);
    // He has seen no other log, and the witness saw what this one grew from. In a while he could see that it cosigns no more; it
    // takes somebody who has seen more to know why.
    rely_on(&server.join("dave"), &key)?;
    let believed = dave.run(&["peer", "show", "bob"])?;
    table.fact("lie 2: dave, who came to the false log", code(&believed));
    table.fact("lie 2: dave's witnesses", witnesses(&result(&believed)["directory"]));
    server.end()?;

    println!("The true directory is put back; erin registers ...");
    today.put_back()?;
    server.start_again()?;
    register(&server, "erin")?;
    claim_proven(&mut table, &server, ("ada, afterwards", &ada), "erin")?;
    table.fact("dave, of whom the true log knows nothing", code(&dave.run(&["devices"])?));
    let held = witness.look()?;
    let withholds = !held.cosigned && held.event("withheld")["size"].is_u64();
    table.claim("the witness, afterwards", "cosigns nothing until somebody has looked", withholds);
    look_at_evidence(&witness, &server)?;
    claim_cosigned(&mut table, "the witness, when somebody has", &witness.look()?);
    server.end()?;
    Ok(table)
}

fn register(server: &ServerProcess, name: &str) -> anyhow::Result<Terminal> {
    Terminal::registered(server.join(name), server.address(), name)
}

fn claim_cosigned(table: &mut Table, what: &str, look: &Look) {
    let found = format!("cosigned the log of {} leaves", look.event("cosigned")["size"]);
    table.claim(what, found, look.cosigned);
}

/// Claims that no call comes of the lie, and that what is left of it shows somebody else what it was.
fn claim_refused(
    table: &mut Table,
    lie: &str,
    server: &ServerProcess,
    ada: &Terminal,
    convicts: bool,
) -> anyhow::Result<()> {
    let call = ada.run(&["call", "bob", "--no-devices", "--seconds", "1"])?;
    table.claim(&format!("lie {lie}: ada calls bob"), code(&call), call.status.code() == Some(4));
    let told = result(&call);
    let message = told["message"].as_str().unwrap_or_default();
    let (_, kept) = message.rsplit_once("is kept in ").with_context(|| format!("no evidence was kept: {told}"))?;
    // A home of nobody's: it needs no account, and asks nobody.
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let audit = stranger.run(&["audit", "evidence", kept.trim()])?;
    let found = result(&audit);
    let [rule, fault] = ["rule", "fault"].map(|key| found[key].as_str().unwrap_or("nothing"));
    let holds = audit.status.code() == Some(4) && rule == "KT-4" && found["convicts"] == convicts;
    table.claim(&format!("lie {lie}: what ada kept says"), format!("{rule}, {fault}"), holds);
    let worth =
        if found["convicts"] == true { "two signatures of its own convict the log" } else { "as much as ada's word" };
    table.fact(&format!("lie {lie}: what that is worth"), worth);
    Ok(())
}

/// Claims that the witness sees it as well, and cosigns nothing.
fn claim_accused(table: &mut Table, lie: &str, look: &Look) {
    let accused = look.event("accused");
    let kept = accused["evidence"].as_str().is_some_and(|path| Path::new(path).is_file());
    let found = format!("cosigns nothing: {}", accused["says"].as_str().unwrap_or("but says nothing"));
    let holds = !look.cosigned && accused["rule"] == "KT-4" && kept;
    table.claim(&format!("lie {lie}: the witness"), found, holds);
}

/// What the witness's owner does in the end: looks at the evidence and puts it away.
fn look_at_evidence(witness: &Witness, server: &ServerProcess) -> anyhow::Result<()> {
    let away = server.join("looked-at");
    fs::create_dir_all(&away)?;
    for entry in fs::read_dir(witness.state())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("conviction-") {
            fs::rename(entry.path(), away.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// How a command ended, in words.
fn code(output: &Output) -> String {
    match output.status.code() {
        Some(0) => "believes it, exit code 0".into(),
        Some(code) => format!("refused, exit code {code}"),
        None => "ended by a signal".into(),
    }
}

/// The server's databases as they were when it did not run, with what of them still stood in their write-ahead logs.
struct Copies(Vec<(PathBuf, Option<Vec<u8>>)>);

impl Copies {
    fn of(data: &Path) -> anyhow::Result<Self> {
        let mut copies = Vec::new();
        for name in DATABASES {
            let path = data.join(name);
            copies.push((path.clone(), Some(fs::read(&path).with_context(|| path.display().to_string())?)));
            for beside in ["-wal", "-shm"] {
                let path = data.join(format!("{name}{beside}"));
                copies.push((path.clone(), fs::read(&path).ok()));
            }
        }
        Ok(Self(copies))
    }

    fn put_back(&self) -> anyhow::Result<()> {
        for (path, bytes) in &self.0 {
            match bytes {
                Some(bytes) => fs::write(path, bytes)?,
                None if path.exists() => fs::remove_file(path)?,
                None => {}
            }
        }
        Ok(())
    }
}
