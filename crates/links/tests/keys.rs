//! Keys as files: made, read, exchanged while the service runs.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::Context;
use eventbooker_engine::SystemEntropy;
use eventbooker_links::keys::{KeyFiles, Keyring, generate};
use eventbooker_links::tokens::{Tokens, Unproven};
use eventbooker_testkit::ManualClock;
use eventbooker_testkit::clock::PATIENCE;
use tempfile::TempDir;

/// A folder as a service has it, with its own signing key.
struct Folder {
    folder: TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("trusted")).unwrap();
        let this = Self { folder };
        this.make("own").move_to(&this.path("signing-key.pem"));
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self) -> KeyFiles {
        KeyFiles { signing_key: self.path("signing-key.pem"), trusted: self.path("trusted") }
    }

    /// A new pair.
    fn make(&self, name: &str) -> Pair {
        let [private, public] = ["key", "public"].map(|kind| self.path(&format!("{name}.{kind}")));
        generate(&SystemEntropy, &private, &public).unwrap();
        Pair { private, public: fs::read_to_string(public).unwrap() }
    }

    fn trust(&self, service: Context, pem: &str) {
        fs::write(self.path(&format!("trusted/{service}.pem")), pem).unwrap();
    }
}

struct Pair {
    private: PathBuf,
    public: String,
}

impl Pair {
    fn move_to(&self, path: &Path) {
        fs::rename(&self.private, path).unwrap();
    }
}

#[test]
fn a_pair_is_made_once_and_the_private_half_is_for_its_owner() {
    let folder = Folder::new();
    let pair = folder.make("book");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&pair.private), 0o600);
    assert_eq!(mode(&folder.path("book.public")), 0o644);
    let before = fs::read(&pair.private).unwrap();
    for (private, public) in [("book.key", "new.public"), ("new.key", "book.public")] {
        let [private, public] = [private, public].map(|name| folder.path(name));
        let fault = generate(&SystemEntropy, &private, &public).unwrap_err();
        assert!(fault.to_string().ends_with("there is such a file already"), "{fault}");
    }
    assert_eq!(fs::read(&pair.private).unwrap(), before);
    assert!(!folder.path("new.key").exists() && !folder.path("new.public").exists());
}

/// What `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write.
const OPENSSL_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIOQWTymfVPc3E76sEgpoknkzdNPJxQyl17pCJwqwGMVy
-----END PRIVATE KEY-----
";
const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAunOHOEdolCjxdA89bQUbVFU/DVk0v2Xbm+9TPqfgkNU=
-----END PUBLIC KEY-----
";

#[test]
fn keys_of_openssl_are_read() {
    let folder = Folder::new();
    fs::write(folder.path("signing-key.pem"), OPENSSL_KEY).unwrap();
    folder.trust(Context::Bookings, OPENSSL_PUBLIC);
    let keyring = Keyring::open(&folder.files()).unwrap();
    assert_eq!(
        keyring.strangers(&Context::ALL),
        [Context::Identity, Context::Events, Context::Accounts]
    );
}

#[test]
fn a_damaged_file_is_told_with_its_name() {
    let folder = Folder::new();
    let own = fs::read_to_string(folder.path("signing-key.pem")).unwrap();
    let half = &own[..own.len() / 2];
    let rsa = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL==\n";
    let table: &[(&str, &str)] = &[
        ("trusted/book.pem", ""),
        ("trusted/book.pem", "nonsense"),
        ("trusted/book.pem", half),
        ("trusted/book.pem", &own),
        ("trusted/book.pem", rsa),
        ("trusted/book.pem", &format!("{OPENSSL_PUBLIC}{half}")),
        ("signing-key.pem", ""),
        ("signing-key.pem", half),
        ("signing-key.pem", OPENSSL_PUBLIC),
        ("signing-key.pem", &own.repeat(2)),
    ];
    for (name, text) in table {
        let path = folder.path(name);
        fs::write(&path, text).unwrap();
        let fault = Keyring::open(&folder.files()).err().map(|fault| fault.to_string());
        let fault = fault.unwrap_or_else(|| panic!("{name} was read: {text}"));
        assert!(fault.starts_with(path.to_str().unwrap()), "{fault}");
        fs::write(folder.path("signing-key.pem"), &own).unwrap();
        let _ = fs::remove_file(folder.path("trusted/book.pem"));
    }
    for missing in ["signing-key.pem", "trusted"] {
        let away = folder.path("away");
        fs::rename(folder.path(missing), &away).unwrap();
        assert!(Keyring::open(&folder.files()).is_err(), "{missing}");
        fs::rename(&away, folder.path(missing)).unwrap();
    }
    assert!(Keyring::open(&folder.files()).is_ok());
}

#[tokio::test]
async fn keys_are_rotated_while_the_service_runs() {
    let clock = Arc::new(ManualClock::default());
    let (book, events) = (Folder::new(), Folder::new());
    let [old, new] = ["old", "new"].map(|name| book.make(name));
    old.move_to(&book.path("signing-key.pem"));
    events.trust(Context::Bookings, &old.public);

    let mut following = Vec::new();
    let mut tokens = |folder: &Folder| {
        let keyring = Arc::new(Keyring::open(&folder.files()).unwrap());
        let clock = Arc::clone(&clock);
        let follow = Arc::clone(&keyring).follow(folder.files(), Arc::clone(&clock) as _);
        following.push(tokio::spawn(follow));
        Tokens::new(keyring, clock)
    };
    let (of_book, of_events) = (tokens(&book), tokens(&events));
    // A round of both: it takes place once the clock is at 5 s, and is over when both sleep again.
    let round = async || {
        clock.until_asleep(2).await;
        clock.advance(Duration::from_secs(5));
        tokio::time::timeout(PATIENCE, clock.until_asleep(2)).await.unwrap();
    };
    let token = || of_book.service_token(Context::Bookings, Context::Events);
    let check = |token: &str| of_events.check_service(token, Context::Events);

    let by_old = token();
    assert_eq!(check(&by_old), Ok(Context::Bookings));
    events.trust(Context::Bookings, &format!("{}{}", old.public, new.public));
    round().await;
    assert_eq!(check(&token()), Ok(Context::Bookings));
    new.move_to(&book.path("signing-key.pem"));
    // A file that is no good changes nothing.
    events.trust(Context::Bookings, "-----BEGIN PUBLIC KEY-----\n");
    round().await;
    let by_new = token();
    assert_ne!(by_new, by_old);
    assert_eq!([check(&by_old), check(&by_new)], [Ok(Context::Bookings); 2]);
    events.trust(Context::Bookings, &new.public);
    round().await;
    assert_eq!(check(&by_old), Err(Unproven::UnknownKey));
    assert_eq!(check(&token()), Ok(Context::Bookings));
    // Whose file is taken away isn't trusted any more.
    fs::remove_file(events.path("trusted/book.pem")).unwrap();
    round().await;
    assert_eq!(check(&token()), Err(Unproven::UnknownKey));
    for task in following {
        task.abort();
    }
}
