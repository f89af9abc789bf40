//! The admin socket: the same routes for whoever may open a file of mode 0600. The kernel says who is at the other
//! end, and that is the caller; nothing else proves anything here.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{AppId, OwnName};
use nix::unistd::{Uid, User};
use store::App;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use crate::auth::Peer;
use crate::error::StartupError;
use crate::listen::{Served, Visitor};
use crate::routes::Door;

/// The socket's name in the configuration's folder.
pub(crate) const NAME: &str = "admin.sock";

/// What somebody at the socket may ask for: operation, and no business of callers.
const SCOPES: [&str; 10] = [
    "devices",
    "maintenance",
    "audit",
    "keys",
    "apps",
    "accounts",
    "rights",
    "policies",
    "approvals",
    "seals",
];

/// Open connections: enough for people and scripts, apart from those of callers.
const MOST: usize = 64;

/// A process of this machine, as the kernel names its user.
#[derive(Debug)]
pub(crate) struct LocalUser {
    uid: u32,
    name: Option<String>,
    pub(crate) app: Arc<App>,
}

impl fmt::Display for LocalUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}({})", self.name.as_deref().unwrap_or("?"), self.uid)
    }
}

/// Who runs this program, as the record names users of this machine.
pub(crate) fn whoever_runs_this() -> String {
    let uid = Uid::current();
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    format!("unix:{}({uid})", name.as_deref().unwrap_or("?"))
}

/// The socket's path for a configuration's folder, through a descriptor of the folder: a socket's address has room
/// for 107 octets only, whatever the folder is called.
struct Place {
    /// Keeps the short path valid.
    _folder: File,
    short: PathBuf,
    path: PathBuf,
}

impl Place {
    fn new(path: &Path) -> std::io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default();
        let file = File::open(folder)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())).join(name);
        Ok(Self { _folder: file, short, path: path.to_owned() })
    }
}

/// Connects to a gateway's socket.
pub(crate) async fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let place = Place::new(path)?;
    UnixStream::connect(&place.short).await
}

/// The bound socket; its file goes with it.
pub(crate) struct AdminSocket {
    socket: UnixListener,
    place: Place,
    /// What names the file: whoever took its place keeps theirs.
    inode: (u64, u64),
    app: Arc<App>,
}

impl AdminSocket {
    /// Binds the socket in a folder, in the place of one that nobody listens on any more. It is made in a folder that
    /// nobody else can enter and moved from there, so that it is never there with another mode.
    ///
    /// # Errors
    /// Another gateway listens there, or what is there is no socket, or the folder cannot be written.
    pub(crate) fn bind(folder: &Path) -> Result<Self, StartupError> {
        let path = folder.join(NAME);
        let unusable = |reason: &dyn fmt::Display| StartupError::file(&path, reason);
        let bind = || -> std::io::Result<(UnixListener, Place, (u64, u64))> {
            let place = Place::new(&path)?;
            let nursery = place.short.with_file_name(format!(".{NAME}.{}", std::process::id()));
            let _ = fs::remove_dir_all(&nursery); // of a process of the same id that was killed here
            fs::DirBuilder::new().mode(0o700).create(&nursery)?;
            let bound = Self::bind_in(&nursery, &place.short);
            let _ = fs::remove_dir_all(&nursery);
            let socket = bound?;
            let metadata = fs::symlink_metadata(&place.short)?;
            Ok((socket, place, (metadata.dev(), metadata.ino())))
        };
        if let Ok(metadata) = fs::symlink_metadata(&path) {
            if !metadata.file_type().is_socket() {
                return Err(unusable(&"it is there and is no socket"));
            }
            if Place::new(&path).and_then(|place| StdStream::connect(&place.short)).is_ok() {
                return Err(unusable(&"another gateway listens there"));
            }
        }
        let id = AppId::of(OwnName::AdminSocket);
        let mut app = App::new(id, NAME);
        app.scopes = SCOPES.into_iter().map(str::to_owned).collect();
        let (socket, place, inode) = bind().map_err(|error| unusable(&error))?;
        Ok(Self { socket, place, inode, app: Arc::new(app) })
    }

    fn bind_in(nursery: &Path, target: &Path) -> std::io::Result<UnixListener> {
        let born = nursery.join(NAME);
        let socket = UnixListener::bind(&born)?;
        fs::set_permissions(&born, Permissions::from_mode(0o600))?;
        fs::rename(&born, target)?;
        Ok(socket)
    }

    /// Serves until `stop` turns true, then waits for open connections to finish their requests.
    pub(crate) async fn run(self, served: Arc<Served>, mut stop: watch::Receiver<bool>) {
        let (closing, room) = (watch::Sender::new(false), Arc::new(Semaphore::new(MOST)));
        loop {
            let accept = async {
                let permit = Arc::clone(&room).acquire_owned().await.map_err(std::io::Error::other)?;
                let (stream, _) = self.socket.accept().await?;
                Ok::<_, std::io::Error>((stream, permit))
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the admin socket");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let (served, app, closing) = (Arc::clone(&served), Arc::clone(&self.app), closing.subscribe());
            tokio::spawn(async move {
                let _permit = permit;
                match identify(&stream, app).await {
                    Ok(user) => {
                        let visitor = Visitor::plain(Peer::Local(user), Door::Whole);
                        served.serve(stream, visitor, closing).await;
                    }
                    Err(error) => tracing::warn!(%error, "the admin socket's caller is not known"),
                }
            });
        }
        drop(self); // whoever comes now is told at once that nobody listens
        closing.send_replace(true);
        closing.closed().await;
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.place.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.place.path); // a stale one is replaced at the next start
        }
    }
}

async fn identify(stream: &UnixStream, app: Arc<App>) -> std::io::Result<Arc<LocalUser>> {
    let uid = stream.peer_cred()?.uid();
    // The register of users may be asked over a network. Without it the number says who it was.
    let found = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    let name = found.ok().and_then(Result::ok).flatten().map(|user| user.name);
    Ok(Arc::new(LocalUser { uid, name, app }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_only_and_goes_with_the_gateway() {
        let folder = folder();
        let socket = AdminSocket::bind(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let beside: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside, [NAME]);
        drop(socket);
        assert!(!folder.path().join(NAME).exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = folder();
        drop(std::os::unix::net::UnixListener::bind(folder.path().join(NAME)).unwrap());
        assert!(folder.path().join(NAME).exists(), "the standard library leaves the file");
        let _live = AdminSocket::bind(folder.path()).unwrap();
        let second = AdminSocket::bind(folder.path()).err().unwrap();
        assert!(second.to_string().contains("another gateway listens"), "{second}");
        connect(&folder.path().join(NAME)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = folder();
        fs::write(folder.path().join(NAME), "notes").unwrap();
        assert!(AdminSocket::bind(folder.path()).is_err());
        assert_eq!(fs::read_to_string(folder.path().join(NAME)).unwrap(), "notes");
    }

    #[tokio::test]
    async fn a_folder_with_a_long_name_is_no_obstacle() {
        let folder = folder();
        let long = folder.path().join("x".repeat(200));
        fs::create_dir(&long).unwrap();
        let _socket = AdminSocket::bind(&long).unwrap();
        connect(&long.join(NAME)).await.unwrap();
    }

    #[test]
    fn an_actor_shows_name_and_number() {
        let app = || Arc::new(App::new(AppId::parse("a").unwrap(), ""));
        let named = LocalUser { uid: 0, name: Some("root".to_owned()), app: app() };
        let unknown = LocalUser { uid: 4711, name: None, app: app() };
        assert_eq!(named.to_string(), "unix:root(0)");
        assert_eq!(unknown.to_string(), "unix:?(4711)");
    }
}
