//! A snapshot as a page that keeps itself current: everything that it needs is in it.

use super::json::brief;
use super::snapshot::Snapshot;
use super::text::text;

const PAGE: &str = include_str!("page.html");

/// Where the page has the numbers, for its script; and where it has them for a browser without scripts.
const DATA: &str = "<!--data-->";
const TEXT: &str = "<!--text-->";

pub(crate) fn page(all: &Snapshot) -> String {
    // Within a script nothing but its end must look like an end.
    let data = brief(all).to_string().replace('<', "\\u003c");
    PAGE.replace(DATA, &data).replace(TEXT, &escaped(&text(all)))
}

/// As text of HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example;
    use super::*;

    #[test]
    fn an_applications_name_cannot_end_the_script() {
        let mut all = example();
        all.total.apps[0].name.target = "</script><b>".to_owned();
        let page = page(&all);
        assert!(!page.contains("</script><b>"));
        assert!(page.contains("\\u003c/script>\\u003cb>") && page.contains("&lt;/script>&lt;b>"));
        assert!(!page.contains(DATA) && !page.contains(TEXT));
    }
}
