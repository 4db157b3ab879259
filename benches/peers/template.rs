//! Configuration files of what is measured, made of templates. Used by every benchmark that has some.

use std::fs;
use std::path::{Path, PathBuf};

/// Writes a template with `{key}` replaced into `folder`, which is `{folder}`.
pub(crate) fn render(
    folder: &Path,
    name: &str,
    template: &str,
    values: &[(&str, impl AsRef<str>)],
) -> Result<PathBuf, String> {
    let mut text = template.replace("{folder}", &folder.display().to_string());
    for (key, value) in values {
        text = text.replace(&format!("{{{key}}}"), value.as_ref());
    }
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}
