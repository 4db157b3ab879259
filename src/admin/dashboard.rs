//! `GET /`: the page that shows what goes on, and the files that it consists of. They are part of the program.
//!
//! The page gets everything else from `/live`. It needs nothing from another machine, and its policy forbids the browser to
//! ask for such a thing; whatever text a node or an error brings, it is never taken for a part of the page.

use hyper::Response;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const DRAWING: &str = "image/svg+xml";

/// Path, type, content.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("dashboard/page.html")),
    ("/dashboard/style.css", STYLE, include_str!("dashboard/style.css")),
    ("/dashboard/main.js", SCRIPT, include_str!("dashboard/main.js")),
    ("/dashboard/topology.js", SCRIPT, include_str!("dashboard/topology.js")),
    ("/dashboard/words.js", SCRIPT, include_str!("dashboard/words.js")),
    ("/dashboard/orders.js", SCRIPT, include_str!("dashboard/orders.js")),
    ("/dashboard/mark.svg", DRAWING, include_str!("dashboard/mark.svg")),
];

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// One of the files, if `path` is one's.
pub(super) fn file<B: From<&'static str>>(path: &str) -> Option<Response<B>> {
    let (_, kind, content) = FILES.iter().find(|(name, ..)| *name == path)?;
    let mut response = Response::new(B::from(content));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    // Another Redan may answer at this address tomorrow.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere_and_no_text_becomes_markup() {
        for (path, _, content) in FILES {
            let without_names = content.replace("http://www.w3.org/2000/svg", "");
            for word in ["http:", "https:", "url(", "@import", "innerHTML", "insertAdjacentHTML", "eval(", "style=\""] {
                assert!(!without_names.contains(word), "{path} has {word}");
            }
            assert!(!without_names.contains("//cdn"), "{path}");
        }
        assert!(FILES.iter().map(|(.., content)| content.len()).sum::<usize>() < 100_000, "it is to be a small page");
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let named = FILES.iter().flat_map(|(_, _, content)| {
            let quoted = content
                .split('"')
                .filter(|word| word.ends_with(".js") || word.ends_with(".css") || word.ends_with("mark.svg"));
            quoted.map(|word| format!("/dashboard/{}", word.trim_start_matches("./").trim_start_matches("dashboard/")))
        });
        let named: Vec<String> = named.collect();
        assert!(named.len() >= 6, "{named:?}");
        for name in named {
            assert!(FILES.iter().any(|(path, ..)| *path == name), "{name}");
        }
    }
}
