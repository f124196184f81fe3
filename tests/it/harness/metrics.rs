//! The text of `/metrics`, read strictly enough to notice nonsense.

/// All samples of one scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// Name, labels and value of one series.
type Sample = (String, Vec<(String, String)>, f64);

impl Metrics {
    /// Reads the Prometheus text format (labels without escaped quotes, as ours are).
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self { samples: lines.map(sample).collect() }
    }

    /// The sum of all series of this name that carry all these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |own: &[(String, String)]| {
            labels.iter().all(|(key, value)| own.iter().any(|(k, v)| k == key && v == value))
        };
        let same = self.samples.iter().filter(|(own, with, _)| own == name && wanted(with));
        same.map(|(_, _, value)| value).sum()
    }

    /// Is there a sample of this name?
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(own, _, _)| own == name)
    }
}

fn sample(line: &str) -> Sample {
    let bad = || panic!("not a sample: {line:?}");
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(bad);
    let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line:?}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
    let labels = labels
        .map(|pair| pair.split_once("=\"").unwrap_or_else(bad))
        .map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    (name.to_owned(), labels, value)
}

#[test]
fn samples_are_read_with_their_labels() {
    let text = "# TYPE a counter\na{x=\"1\",y=\"two, three\"} 4\na{x=\"2\"} 5\nb 1.5\n";
    let metrics = Metrics::parse(text);
    assert!(metrics.has("b") && !metrics.has("c"));
    assert!((metrics.sum("a", &[]) - 9.0).abs() < f64::EPSILON);
    assert!((metrics.sum("a", &[("y", "two, three")]) - 4.0).abs() < f64::EPSILON);
}
