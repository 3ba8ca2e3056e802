//! Measurements in the text format of Prometheus.

/// Every series of this platform, without comments and without those of other libraries.
#[derive(Debug, Default)]
pub(in crate::pages) struct Series(Vec<Line>);

#[derive(Debug)]
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Series {
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| line.starts_with("orderly_")).filter_map(Line::parse).collect())
    }

    /// The values of a metric, each with the values of its labels.
    pub fn of(&self, name: &str) -> impl Iterator<Item = (Labels<'_>, f64)> {
        self.0.iter().filter(move |line| line.name == name).map(|line| (Labels(&line.labels), line.value))
    }

    /// The sum over all labels. `None` if this process does not measure it.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.of(name).map(|(_, value)| value).reduce(|sum, value| sum + value)
    }

    /// The sums by one label, in its order.
    pub fn by(&self, name: &str, label: &str) -> Vec<(&str, f64)> {
        let mut sums: Vec<(&str, f64)> = Vec::new();
        for line in self.0.iter().filter(|line| line.name == name) {
            let value = Labels(&line.labels).get(label);
            match sums.iter_mut().find(|(known, _)| *known == value) {
                Some((_, sum)) => *sum += line.value,
                None => sums.push((value, line.value)),
            }
        }
        sums.sort_by_key(|(name, _)| *name);
        sums
    }

    /// The value with this label.
    pub fn with(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        self.of(name).find(|(labels, _)| labels.get(label) == value).map(|(_, value)| value)
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (head, value) = line.rsplit_once(' ')?;
        // The bound of the last bucket.
        let value = value.trim_start_matches('+').to_ascii_lowercase().parse().ok()?;
        let (name, labels) = match head.split_once('{') {
            Some((name, labels)) => (name, labels_of(labels.trim_end_matches('}'))),
            None => (head, Vec::new()),
        };
        Some(Self { name: name.to_owned(), labels, value })
    }
}

/// No label of these measurements has quotes inside.
fn labels_of(text: &str) -> Vec<(String, String)> {
    let pairs = text.split("\",").filter_map(|pair| pair.split_once("=\""));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim_end_matches('"').to_owned())).collect()
}

/// The labels of one value.
#[derive(Debug, Clone, Copy)]
pub(in crate::pages) struct Labels<'a>(&'a [(String, String)]);

impl<'a> Labels<'a> {
    /// Empty without this label.
    pub fn get(self, name: &str) -> &'a str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}
