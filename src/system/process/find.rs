//! Finds the program that a command line names, before anything is started.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Why there is no program to start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// Of a name: the folders that were looked through.
    #[error("there is no program `{program}` in `{path}`")]
    Missing { program: String, path: String },
    #[error("`{}` is not there", .0.display())]
    NoFile(PathBuf),
    #[error("`{}` may not be executed", .0.display())]
    NotExecutable(PathBuf),
}

/// A name is looked for in `path`, or in our own `PATH`; what has a slash is a file, from `folder` on.
#[expect(clippy::disallowed_methods, reason = "this room reads the environment")]
pub fn find(program: &str, path: Option<&str>, folder: &Path) -> Result<PathBuf, NotFound> {
    if program.contains('/') {
        let file = folder.join(program);
        return match (file.is_file(), access(&file, Access::EXEC_OK).is_ok()) {
            (true, true) => Ok(file),
            (true, false) => Err(NotFound::NotExecutable(file)),
            (false, _) => Err(NotFound::NoFile(file)),
        };
    }
    let path = path.map_or_else(|| std::env::var("PATH").unwrap_or_default(), str::to_owned);
    let mut closed = None;
    for below in path.split(':') {
        let file = folder.join(below).join(program);
        if !file.is_file() {
            continue;
        }
        if access(&file, Access::EXEC_OK).is_ok() {
            return Ok(file);
        }
        closed.get_or_insert(file);
    }
    let missing = NotFound::Missing { program: program.to_owned(), path: path.clone() };
    Err(closed.map_or(missing, NotFound::NotExecutable))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_name_is_found_in_the_path_and_a_file_from_the_folder_on() {
        let folder = tempfile::tempdir().unwrap();
        let place = |file: &str, mode| {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (tool, closed, plain) = (place("b/tool", 0o755), place("a/tool", 0o644), place("plain", 0o644));
        let (a, b) = (closed.parent().unwrap().to_str().unwrap(), tool.parent().unwrap().to_str().unwrap());
        let found = |program: &str, path: &str| find(program, Some(path), folder.path());
        assert_eq!(found("tool", &format!("{a}:{b}")), Ok(tool.clone()));
        assert_eq!(found("tool", a), Err(NotFound::NotExecutable(closed)));
        assert_eq!(found("./b/tool", ""), Ok(folder.path().join("./b/tool")));
        assert_eq!(found("./plain", ""), Err(NotFound::NotExecutable(folder.path().join("./plain"))));
        assert_eq!(plain, folder.path().join("plain"));
        assert!(matches!(found("./none", ""), Err(NotFound::NoFile(_))));
        assert!(matches!(found("none", b), Err(NotFound::Missing { .. })));
        assert!(find("sh", None, folder.path()).is_ok());
    }
}
