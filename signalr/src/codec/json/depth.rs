/// The deepest nesting of a message, as in the original: what reads it may recurse.
const DEEPEST: usize = 64;

/// Whether objects and arrays are nested deeper than [`DEEPEST`]. Text that is not JSON may get any
/// answer.
pub(crate) fn is_too_deep(json: &[u8]) -> bool {
    // Each level takes two bytes, so most messages need no look.
    if json.len() <= 2 * DEEPEST {
        return false;
    }
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            _ if text => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > DEEPEST {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_too_deep;

    fn nested(depth: usize, inner: &str) -> Vec<u8> {
        format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
    }

    #[test]
    fn sixty_four_levels_are_fine() {
        assert!(!is_too_deep(&nested(64, "1")));
        assert!(!is_too_deep(&nested(64, "")));
        assert!(is_too_deep(&nested(65, "")));
    }

    #[test]
    fn brackets_in_texts_do_not_count() {
        let text = format!(r#""{}\"{}\\""#, "[".repeat(100), "{".repeat(100));
        assert!(!is_too_deep(&nested(64, &text)));
        assert!(is_too_deep(&nested(64, &format!("{text},[]"))));
    }

    #[test]
    fn width_is_not_depth() {
        assert!(!is_too_deep(&nested(1, &"[],".repeat(1000))));
    }
}
