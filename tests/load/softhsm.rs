//! A site whose group `bureau` is four SoftHSM2 tokens that hold the sandbox's P-256 key. The sandbox's other keys of
//! that group are in no device then, and nobody asks for them; what is stored is not protected.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Folder, Ran};

use crate::Fallible;
use crate::reference::{DirectSign, Key};

/// Where packages put the module.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
const DEVICES: [&str; 4] = ["d1", "d2", "d3", "d4"];
const KEY: &str = "demo-p256";
const PIN: &str = "12345678";

/// The module, if it is installed.
pub(crate) fn module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Puts the tokens in the place of the sandbox's simulated devices d1 to d7, each in a SoftHSM2 of its own.
pub(crate) fn install(folder: &Folder, module: &Path, lanes: usize) -> Fallible<()> {
    let data = folder.data();
    let mut devices = String::new();
    for device in DEVICES {
        let home = data.join("softhsm").join(device);
        let conf = conf(&data, device);
        set_up(&home, &conf)?;
        make_token(&data, &home, &conf, device)?;
        devices.push_str(&entry(module, device, &format!("softhsm/{device}/pin"), lanes));
        devices.push_str(&format!("env = {{ SOFTHSM2_CONF = {conf:?} }}\n"));
    }
    without_protection(folder);
    replace_bureau(folder, &devices)
}

/// The same with so many tokens of one SoftHSM2 and one session each; where its configuration is.
pub(crate) fn install_jointly(folder: &Folder, module: &Path, count: usize) -> Fallible<String> {
    let data = folder.data();
    let home = data.join("softhsm/joint");
    let conf = home.join("softhsm2.conf");
    set_up(&home, &conf)?;
    let mut devices = String::new();
    for device in &DEVICES[..count] {
        make_token(&data, &home, &conf, device)?;
        devices.push_str(&entry(module, device, "softhsm/joint/pin", 1));
    }
    without_protection(folder);
    replace_bureau(folder, &devices)?;
    Ok(conf.display().to_string())
}

/// Leaves so many of the simulated devices of `bureau`, each with one session.
pub(crate) fn keep(folder: &Folder, count: usize) -> Fallible<()> {
    let text = fs::read_to_string(folder.config())?;
    let blocks = text.split("\n[[device]]\n").skip(1).take(count);
    let devices: String = blocks.map(|block| format!("\n[[device]]\n{}", block.trim_end())).collect();
    replace_bureau(folder, &format!("{}\n", devices.replace("\nlanes = 4\n", "\nlanes = 1\n")))
}

fn set_up(home: &Path, conf: &Path) -> Fallible<()> {
    fs::create_dir_all(home.join("tokens"))?;
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        home.join("tokens").display()
    );
    fs::write(conf, text)?;
    Ok(fs::write(home.join("pin"), PIN)?)
}

/// A token with the sandbox's P-256 key.
fn make_token(data: &Path, home: &Path, conf: &Path, device: &str) -> Fallible<()> {
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("softhsm2-util");
        Ran::of(command.env("SOFTHSM2_CONF", conf).args(arguments).args(["--pin", PIN]))
    };
    tool(&["--init-token", "--free", "--label", device, "--so-pin", PIN]).expect("a SoftHSM2 token");
    let pem = data.join("pki/private").join(format!("{KEY}.pem"));
    let id: String = KEY.bytes().map(|octet| format!("{octet:02x}")).collect();
    let pem = pem.to_str().ok_or("the temporary folder's name is no text")?;
    let import = tool(&["--import", pem, "--token", device, "--label", KEY, "--id", &id]);
    import.expect(&format!("the key in SoftHSM2 at {}", home.display()));
    Ok(())
}

/// Takes the key out of the register that protects what is stored: no token holds it, and a site that has one in its
/// register is not ready until a device has given it.
fn without_protection(folder: &Folder) {
    let rows = [("key_copies", "key_id"), ("key_versions", "key_id"), ("keys", "id")];
    let delete = rows.map(|(table, id)| {
        format!("DROP TRIGGER {table}_no_delete; DELETE FROM {table} WHERE {id} = 'sys-mac';")
    });
    let mut sqlite = Command::new("sqlite3");
    Ran::of(sqlite.arg(folder.data().join("gateway.db")).arg(delete.concat()))
        .expect("the register without sys-mac");
}

/// A device of the configuration, without its environment.
fn entry(module: &Path, device: &str, pin_file: &str, lanes: usize) -> String {
    format!(
        "\n[[device]]\nid = \"{device}\"\ngroup = \"bureau\"\nmodule = {module:?}\ntoken = \"{device}\"\n\
         pin_file = \"{pin_file}\"\ndialect = \"standard\"\nlanes = {lanes}\n"
    )
}

/// Puts these devices in the place of the group's.
fn replace_bureau(folder: &Folder, devices: &str) -> Fallible<()> {
    let text = fs::read_to_string(folder.config())?;
    let mut blocks = text.split("\n[[device]]\n");
    let mut config = blocks.next().unwrap_or_default().to_owned();
    config.push_str(devices);
    for block in blocks.filter(|block| block.contains("group = \"portal\"")) {
        config.push_str("\n[[device]]\n");
        config.push_str(block);
    }
    Ok(fs::write(folder.config(), config)?)
}

/// Signing directly in one of the tokens.
pub(crate) fn direct(
    data: &Path,
    module: &Path,
    number: usize,
    seconds: f64,
) -> (DirectSign, (String, String)) {
    let device = DEVICES[number];
    let order = DirectSign {
        module: module.to_owned(),
        label: device.to_owned(),
        pin_file: data.join("softhsm").join(device).join("pin"),
        id: KEY.to_owned(),
        key: Key::P256,
        lanes: 1,
        seconds,
    };
    (order, ("SOFTHSM2_CONF".to_owned(), conf(data, device).display().to_string()))
}

fn conf(data: &Path, device: &str) -> PathBuf {
    data.join("softhsm").join(device).join("softhsm2.conf")
}
