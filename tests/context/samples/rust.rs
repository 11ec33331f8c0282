use std::collections::HashMap;
use std::fmt::{self, Display};

#[derive(Debug, Clone, PartialEq)]
pub struct Item<'a> {
    name: &'a str,
    price: f64,
}

pub enum Event {
    Added(String, usize),
    Removed { name: String },
    Cleared,
}

impl<'a> Display for Item<'a> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.2}", self.name, self.price)
    }
}

/// Counts by name.
pub fn count<'a, I>(items: I) -> HashMap<&'a str, usize>
where
    I: IntoIterator<Item = Item<'a>>,
{
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item.name).or_insert(0) += 1;
    }
    counts
}

fn describe(event: &Event) -> Option<String> {
    let raw = r#"a "raw" one"#;
    match event {
        Event::Added(name, n) if *n > 1 => Some(format!("{name} x{n}")),
        Event::Added(name, _) | Event::Removed { name } => Some(name.clone()),
        Event::Cleared => {
            let c = 'x';
            if raw.contains(c) { None } else { Some(String::from("cleared\n")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count(vec![Item { name: "a", price: 1.0 }])["a"], 1);
    }
}
