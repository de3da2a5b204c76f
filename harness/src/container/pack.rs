//! What a program needs to run in a container that holds nothing else: itself, its libraries and its loader.
//!
//! They are put into one folder, and the loader is told to look there, so the host's folders do not matter.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder in the image.
const FOLDER: &str = "shopfloor";
/// The size of tar's blocks.
const BLOCK: usize = 512;

/// A program with all that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pack {
    program: PathBuf,
    loader: Option<PathBuf>,
    libraries: Vec<PathBuf>,
}

/// Returned when it cannot be told what a program needs.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Returned when a file cannot be read, or `ldd` not run.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Returned when the program is neither an executable nor a script that an installed kind starts by.
    #[error("{}: expected an executable that can be put into an image, not a script", .path.display())]
    Script {
        /// The program.
        path: PathBuf,
    },
    /// Returned when a library is not to be found on this machine, or `ldd` cannot read the program.
    #[error("{}: ldd says `{said}`", .path.display())]
    Ldd {
        /// The program.
        path: PathBuf,
        /// What `ldd` said.
        said: String,
    },
}

impl Pack {
    /// Finds out what the program at `path` needs.
    pub(super) fn of(path: &Path) -> Result<Pack, PackError> {
        if is_elf(path)? {
            return linked(path);
        }
        // An installed kind that brings its own libraries has them beside its starter.
        let lib = path.with_file_name("lib");
        let program = lib.join(path.file_name().unwrap_or_default());
        if !program.is_file() {
            return Err(PackError::Script { path: path.to_owned() });
        }
        let mut pack = Pack { program: program.clone(), loader: None, libraries: Vec::new() };
        for entry in fs::read_dir(&lib).map_err(at(&lib))? {
            let file = entry.map_err(at(&lib))?.path();
            match file.file_name().map(|name| name.to_string_lossy().starts_with("ld-linux")) {
                _ if file == program => {}
                Some(true) => pack.loader = Some(file),
                _ => pack.libraries.push(file),
            }
        }
        pack.libraries.sort();
        Ok(pack)
    }

    /// The command that starts the program in the image.
    pub(super) fn command(&self) -> Vec<String> {
        let program = inside(&self.program);
        match &self.loader {
            Some(loader) => vec![inside(loader), "--library-path".to_owned(), format!("/{FOLDER}"), program],
            None => vec![program],
        }
    }

    /// All files as an archive of the format `tar`.
    pub(super) fn tar(&self) -> Result<Vec<u8>, PackError> {
        let mut archive = header(&format!("{FOLDER}/"), 0, b'5');
        for file in [&self.program].into_iter().chain(&self.loader).chain(&self.libraries) {
            let content = fs::read(file).map_err(at(file))?;
            archive.extend(header(inside(file).trim_start_matches('/'), content.len(), b'0'));
            archive.extend_from_slice(&content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
        // Two empty blocks end an archive.
        archive.resize(archive.len() + 2 * BLOCK, 0);
        Ok(archive)
    }
}

/// The path of a file in the image.
fn inside(file: &Path) -> String {
    format!("/{FOLDER}/{}", file.file_name().unwrap_or_default().display())
}

/// What the host's loader finds for an executable.
fn linked(path: &Path) -> Result<Pack, PackError> {
    let ldd = Command::new("ldd").arg(path).env("LC_ALL", "C").output().map_err(at(Path::new("ldd")))?;
    let said = String::from_utf8_lossy(&ldd.stdout);
    let errors = String::from_utf8_lossy(&ldd.stderr);
    if !ldd.status.success() && !errors.contains("not a dynamic executable") {
        return Err(PackError::Ldd { path: path.to_owned(), said: errors.trim().to_owned() });
    }
    read_list(path, &said)
}

/// Reads the list that `ldd` prints; for a static program it names none.
fn read_list(path: &Path, list: &str) -> Result<Pack, PackError> {
    let mut pack = Pack { program: path.to_owned(), loader: None, libraries: Vec::new() };
    for line in list.lines().map(str::trim) {
        let file = match line.split_once("=>") {
            Some((_, file)) => file.trim(),
            None => line,
        };
        if file.starts_with("not found") {
            return Err(PackError::Ldd { path: path.to_owned(), said: line.to_owned() });
        }
        // `linux-vdso` is the kernel's and no file.
        let Some((file, _)) = file.split_once(" (0x").filter(|(file, _)| file.starts_with('/')) else { continue };
        let file = PathBuf::from(file);
        if line.contains("=>") { pack.libraries.push(file) } else { pack.loader = Some(file) }
    }
    Ok(pack)
}

fn is_elf(path: &Path) -> Result<bool, PackError> {
    let mut start = Vec::new();
    fs::File::open(path).and_then(|file| file.take(4).read_to_end(&mut start)).map_err(at(path))?;
    Ok(start == b"\x7fELF")
}

/// The block that announces a file (`0`) or a folder (`5`) in an archive (POSIX `ustar`). Times and owners are zero, so
/// that the same files make the same image.
fn header(name: &str, size: usize, kind: u8) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(257, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PackError {
    let path = path.to_owned();
    move |source| PackError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn libraries_and_loader_are_told_apart() {
        let list = "\tlinux-vdso.so.1 (0x00007fb3c7aad000)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007fb3c79bb000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007fb3c7aaf000)\n";
        let pack = read_list(Path::new("/opt/bitcoind"), list).unwrap();
        assert_eq!(pack.libraries, [PathBuf::from("/lib/x/libm.so.6")]);
        let command = ["/shopfloor/ld-linux-x86-64.so.2", "--library-path", "/shopfloor", "/shopfloor/bitcoind"];
        assert_eq!(pack.command(), command);
    }

    #[test]
    fn a_static_program_needs_nothing() {
        let pack = read_list(Path::new("/opt/bitcoind"), "\tstatically linked\n").unwrap();
        assert_eq!(pack.command(), ["/shopfloor/bitcoind"]);
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let error = read_list(Path::new("/opt/bitcoind"), "\tlibevent.so => not found\n").unwrap_err().to_string();
        assert_eq!(error, "/opt/bitcoind: ldd says `libevent.so => not found`");
    }

    #[test]
    fn a_script_without_libraries_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("bitcoind");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let error = Pack::of(&script).unwrap_err();
        assert!(matches!(&error, PackError::Script { path } if *path == script), "{error}");
    }

    #[test]
    fn tar_itself_reads_the_archive() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("true");
        fs::copy("/bin/true", &program).unwrap();
        let pack = Pack::of(&program).unwrap();
        let archive = dir.path().join("archive.tar");
        fs::write(&archive, pack.tar().unwrap()).unwrap();
        let tar = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(dir.path()).status().unwrap();
        assert!(tar.success(), "{tar}");
        let unpacked = dir.path().join("shopfloor/true");
        assert_eq!(fs::read(&unpacked).unwrap(), fs::read(&program).unwrap());
        assert_eq!(fs::metadata(unpacked).unwrap().permissions().mode() & 0o777, 0o755);
        let names: Vec<_> = fs::read_dir(dir.path().join("shopfloor")).unwrap().collect();
        assert_eq!(names.len(), 1 + usize::from(pack.loader.is_some()) + pack.libraries.len());
    }
}
