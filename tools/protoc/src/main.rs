//! Copies the `protoc` that the crate `protoc-bin-vendored` carries, with its include files, to `{folder}/bin` and
//! `{folder}/include`. The folder is one that outlives a checkout: build scripts depend on the path of `protoc`, so a
//! path that moved would build all of Lance again.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("usage: persisting-protoc FOLDER")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder.join("bin"))?;
    let staged = folder.join("bin/.protoc");
    fs::copy(protoc_bin_vendored::protoc_bin_path()?, &staged)?;
    copy_tree(&protoc_bin_vendored::include_path()?, &folder.join("include"))?;
    fs::rename(staged, folder.join("bin/protoc"))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
