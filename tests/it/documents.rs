//! What is written in `docs` is what the program says. `UPDATE_DOCUMENTS=1` writes it anew.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

#[test]
fn every_problem_code_has_its_page() {
    let folder = repository().join("docs/problems");
    let pages = hub::problem_pages::pages();
    if env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (code, page) in &pages {
            fs::write(folder.join(format!("{code}.md")), page).unwrap();
        }
    }
    for (code, page) in &pages {
        let kept = fs::read_to_string(folder.join(format!("{code}.md"))).unwrap_or_default();
        assert_eq!(&kept, page, "docs/problems/{code}.md is not what the program says");
    }
    let files: BTreeSet<_> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let expected: BTreeSet<_> = pages.keys().map(|code| format!("{code}.md")).collect();
    assert_eq!(files, expected, "a page without a code, or a code without a page");
}
