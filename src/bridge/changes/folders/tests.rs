use std::slice::from_ref;

use super::*;

/// A folder of its own, which is removed at the end.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pywsgi-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        path
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

fn changed(folders: &mut Folders) -> Vec<PathBuf> {
    folders.changed().into_iter().map(|(path, _)| path).collect()
}

/// Watches `root`, whose files are all old.
fn watched(root: &Root, kind: Kind) -> Folders {
    let mut folders = Folders::new(0).unwrap();
    assert_eq!(folders.add(&root.0, kind, later()), None);
    folders
}

#[test]
fn a_file_however_it_is_saved() {
    let root = Root::new("saved");
    let app = root.write("app.py");
    let mut folders = watched(&root, Kind::Code);
    assert!(changed(&mut folders).is_empty());

    fs::write(&app, "1").unwrap();
    assert_eq!(changed(&mut folders), from_ref(&app), "written");

    let at = changed_at(&app.metadata().unwrap());
    fs::write(&app, "1").unwrap();
    let [(_, when)] = *folders.changed() else { panic!("one") };
    assert!(when >= at && when == changed_at(&app.metadata().unwrap()), "the file's own time");

    let temporary = root.write(".app.py.tmp");
    assert!(changed(&mut folders).is_empty());
    fs::rename(&temporary, &app).unwrap();
    assert_eq!(changed(&mut folders), from_ref(&app), "replaced");
    fs::write(&app, "2").unwrap();
    assert_eq!(changed(&mut folders), from_ref(&app), "written again");

    fs::remove_file(&app).unwrap();
    assert_eq!(changed(&mut folders), [app], "deleted");
}

#[test]
fn what_does_not_count() {
    let root = Root::new("quiet");
    root.write("app.py");
    root.write("media/old.jpg");
    let mut folders = watched(&root, Kind::Code);
    root.write("__pycache__/app.cpython-313.pyc");
    root.write("notes.txt");
    root.write("media/new.py.jpg");
    assert!(changed(&mut folders).is_empty());
    assert!(!folders.known.contains_key(&root.at("__pycache__")));
}

#[test]
fn packages_below_and_new_ones() {
    let root = Root::new("packages");
    root.write("app.py");
    let old = root.write("shop/views.py");
    let mut folders = watched(&root, Kind::Code);
    fs::write(&old, "1").unwrap();
    assert_eq!(changed(&mut folders), [old]);

    fs::create_dir(root.at("blog")).unwrap();
    assert!(changed(&mut folders).is_empty());
    let new = root.write("blog/views.py");
    assert!(changed(&mut folders).contains(&new));

    fs::rename(root.at("blog"), root.at("news")).unwrap();
    let moved = changed(&mut folders);
    assert!(moved.contains(&root.at("blog")) && moved.contains(&root.at("news/views.py")));
    assert!(changed(&mut folders).is_empty());
    root.write("news/models.py");
    assert!(
        changed(&mut folders).contains(&root.at("news/models.py")),
        "it is watched where it is now"
    );
}

#[test]
fn installed_code_without_what_is_below() {
    let root = Root::new("installed");
    let module = root.write("six.py");
    let package = root.write("django/__init__.py");
    let mut folders = watched(&root, Kind::Installed);
    fs::write(package, "1").unwrap();
    root.write("flask/__init__.py");
    assert!(changed(&mut folders).is_empty());
    fs::write(&module, "1").unwrap();
    assert_eq!(changed(&mut folders), [module]);
}

#[test]
fn all_files_of_a_named_folder() {
    let root = Root::new("named");
    let page = root.write("shop/de/page.html");
    root.write("shop/.git/index");
    let mut folders = watched(&root, Kind::Code);
    fs::write(&page, "1").unwrap();
    assert!(changed(&mut folders).is_empty(), "it is watched for its code");
    assert_eq!(folders.add(&root.0, Kind::Named, later()), None);
    fs::write(&page, "2").unwrap();
    root.write("shop/.git/index");
    assert_eq!(changed(&mut folders), [page]);
}

#[test]
fn a_folder_that_comes_back() {
    let root = Root::new("back");
    root.write("shop/views.py");
    let shop = root.at("shop");
    let mut folders = Folders::new(0).unwrap();
    assert_eq!(folders.add(&shop, Kind::Code, later()), None);
    fs::remove_dir_all(&shop).unwrap();
    assert!(changed(&mut folders).contains(&shop.join("views.py")));
    assert_eq!(folders.returned(), None);
    let views = root.write("shop/views.py");
    assert_eq!(folders.returned(), Some(views.clone()));
    fs::write(&views, "1").unwrap();
    assert_eq!(changed(&mut folders), [views]);
}

#[test]
fn what_has_changed_before_it_is_watched() {
    let root = Root::new("before");
    let app = root.write("app.py");
    let mut folders = Folders::new(0).unwrap();
    let since = SystemTime::UNIX_EPOCH;
    assert_eq!(folders.add(&root.0, Kind::Code, since), Some(app));
    assert_eq!(folders.add(&root.0, Kind::Code, since), None, "it is watched already");
}

#[test]
fn what_is_wrong() {
    let root = Root::new("wrong");
    let mut folders = Folders::new(0).unwrap();
    folders.refused(&root.0, Kind::Code, Errno::NOSPC);
    let fault = folders.take_fault().unwrap();
    assert!(fault.contains("fs.inotify.max_user_watches is ") && fault.contains("wrong"));
    folders.refused(&root.0, Kind::Code, Errno::NOSPC);
    assert_eq!(folders.take_fault(), None, "once");
    assert_eq!(folders.add(&root.write("file.zip"), Kind::Code, later()), None);
    assert_eq!(folders.take_fault(), None);
}
