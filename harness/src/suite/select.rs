//! Which of the scenarios are run.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// What a selection looks at.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The scenario's name, with its cell.
    pub title: &'a str,
    /// Its file.
    pub file: &'a Path,
    /// Its tags.
    pub tags: &'a [String],
}

/// Which of the scenarios are run: those that pass the filters and the tags, and of these those in the shard.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Parts of paths or titles, in any case; one of them has to be there, unless there are none.
    pub filter: Vec<String>,
    /// What is asked of the tags; all of it has to hold.
    pub tags: Vec<TagRule>,
    /// The part of what is left.
    pub shard: Option<Shard>,
}

/// What is asked of a scenario's tags: `slow` asks for that tag, and `!slow` for its absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRule {
    tag: String,
    wanted: bool,
}

/// Returned when a text is no rule for tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no tag: expected something like `slow` or `!slow`")]
pub struct TagError(String);

impl FromStr for TagRule {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let (tag, wanted) = match text.strip_prefix('!') {
            Some(tag) => (tag.trim(), false),
            None => (text.trim(), true),
        };
        if tag.is_empty() || tag.starts_with('!') {
            return Err(TagError(text.to_owned()));
        }
        Ok(TagRule { tag: tag.to_owned(), wanted })
    }
}

impl fmt::Display for TagRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wanted { "" } else { "!" }, self.tag)
    }
}

/// One of several parts of a suite that together are the whole: `2/5` is the second of five.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

/// Returned when a text is no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {why}: expected something like `2/5`, the second of five parts")]
pub struct ShardError {
    text: String,
    why: String,
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let error = |why: String| ShardError { text: text.to_owned(), why };
        let (number, of) = text.split_once('/').ok_or_else(|| error("there is no `/`".to_owned()))?;
        let parse = |part: &str| {
            part.trim().parse::<usize>().map_err(|why| error(format!("`{part}` is no number of a shard: {why}")))
        };
        let (number, of) = (parse(number)?, parse(of)?);
        match (number, of) {
            (_, 0) => Err(error("there is no suite of 0 shards".to_owned())),
            (0, _) => Err(error("shards are counted from 1".to_owned())),
            _ if number > of => Err(error(format!("there is no shard {number} of {of}"))),
            _ => Ok(Shard { number, of }),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Returned when a selection leaves nothing to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NothingSelected {
    /// No scenario passes the filters and the tags.
    #[error("no scenario has {wanted}; there are:{}", there_are(.titles, .tags))]
    NoMatch {
        /// What was asked for.
        wanted: String,
        /// The titles of the scenarios that there are.
        titles: Vec<String>,
        /// The tags that there are.
        tags: Vec<String>,
    },
    /// There are fewer scenarios than shards.
    #[error("shard {shard} is empty: {there} to divide")]
    EmptyShard {
        /// The shard.
        shard: Shard,
        /// How many scenarios pass the filters and the tags.
        there: Count,
    },
    /// There was nothing to choose from.
    #[error("there is no scenario to run")]
    NoScenario,
}

/// A number of scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("there is only 1 scenario"),
            count => write!(f, "there are only {count} scenarios"),
        }
    }
}

/// How many titles an error names: a screen full.
const SHOWN: usize = 20;

fn there_are(titles: &[String], tags: &[String]) -> String {
    let mut text = titles.iter().take(SHOWN).map(|title| format!("\n  {title}")).collect::<String>();
    if titles.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", titles.len() - SHOWN));
    }
    let tags = if tags.is_empty() { "none".to_owned() } else { tags.join(", ") };
    format!("{text}\n  with the tags: {tags}")
}

impl Selection {
    /// Keeps what is selected, in the order in which it came.
    ///
    /// # Errors
    ///
    /// If nothing is selected.
    pub fn select<T>(&self, items: Vec<T>, about: impl Fn(&T) -> About<'_>) -> Result<Vec<T>, NothingSelected> {
        if items.is_empty() {
            return Err(NothingSelected::NoScenario);
        }
        let matching: Vec<_> = (0..items.len()).filter(|&at| self.matches(about(&items[at]))).collect();
        if matching.is_empty() {
            let all = || items.iter().map(&about);
            let tags: BTreeSet<_> = all().flat_map(|about| about.tags).cloned().collect();
            let titles = all().map(|about| about.title.to_owned()).collect();
            return Err(NothingSelected::NoMatch { wanted: self.wanted(), titles, tags: tags.into_iter().collect() });
        }
        let selected = match self.shard {
            Some(shard) => {
                // The shards have to fit each other even if each is called with its files in another order.
                let mut sorted = matching.clone();
                sorted.sort_by(|&one, &other| {
                    let (one, other) = (about(&items[one]), about(&items[other]));
                    (one.file, one.title).cmp(&(other.file, other.title))
                });
                let mine: BTreeSet<_> = sorted.into_iter().skip(shard.number - 1).step_by(shard.of).collect();
                if mine.is_empty() {
                    return Err(NothingSelected::EmptyShard { shard, there: Count(matching.len()) });
                }
                mine
            }
            None => matching.into_iter().collect(),
        };
        Ok(items.into_iter().enumerate().filter(|(at, _)| selected.contains(at)).map(|(_, item)| item).collect())
    }

    fn matches(&self, about: About<'_>) -> bool {
        let (title, file) = (about.title.to_lowercase(), about.file.to_string_lossy().to_lowercase());
        let found = |part: &String| {
            let part = part.to_lowercase();
            title.contains(&part) || file.contains(&part)
        };
        (self.filter.is_empty() || self.filter.iter().any(found))
            && self.tags.iter().all(|rule| about.tags.contains(&rule.tag) == rule.wanted)
    }

    /// What was asked for, in words.
    fn wanted(&self) -> String {
        let mut wanted = Vec::new();
        if !self.filter.is_empty() {
            let parts: Vec<_> = self.filter.iter().map(|part| format!("`{part}`")).collect();
            wanted.push(format!("{} in its path or title", parts.join(" or ")));
        }
        wanted.extend(self.tags.iter().map(|rule| {
            let with = if rule.wanted { "the tag" } else { "no tag" };
            format!("{with} `{}`", rule.tag)
        }));
        wanted.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(&'static str, &'static str, Vec<String>);

    fn about(item: &Item) -> About<'_> {
        About { title: item.1, file: Path::new(item.0), tags: &item.2 }
    }

    fn items() -> Vec<Item> {
        let item = |file, title, tags: &[&str]| Item(file, title, tags.iter().map(|&tag| tag.to_owned()).collect());
        vec![
            item("s/close.yaml", "the close [kind=core-31]", &["fast"]),
            item("s/close.yaml", "the close [kind=knots-29]", &["fast", "knots"]),
            item("s/faults/crash.yaml", "a crash", &["slow"]),
            item("s/faults/partition.yaml", "a partition", &["slow", "container"]),
            item("s/race.yaml", "a race", &[]),
        ]
    }

    fn select(selection: &Selection) -> Result<Vec<&'static str>, NothingSelected> {
        Ok(selection.select(items(), about)?.into_iter().map(|item| item.1).collect())
    }

    fn selection(filter: &[&str], tags: &[&str], shard: Option<&str>) -> Selection {
        Selection {
            filter: filter.iter().map(|&part| part.to_owned()).collect(),
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            shard: shard.map(|shard| shard.parse().unwrap()),
        }
    }

    #[test]
    fn any_filter_and_all_tags() {
        let both = ["the close [kind=core-31]", "the close [kind=knots-29]"];
        for (filter, tags, selected) in [
            (&["CLOSE"][..], &[][..], &both[..]),
            (&["Knots", "race.yaml"], &[], &["the close [kind=knots-29]", "a race"]),
            (&["faults/"], &[], &["a crash", "a partition"]),
            (&[], &["slow"], &["a crash", "a partition"]),
            (&[], &["slow", "!container"], &["a crash"]),
            (&["a "], &["!slow"], &["a race"]),
            (&["faults"], &["slow", "container"], &["a partition"]),
        ] {
            assert_eq!(select(&selection(filter, tags, None)).unwrap(), selected, "{filter:?} {tags:?}");
        }
    }

    #[test]
    fn nothing_selected_says_what_there_is() {
        let error = select(&selection(&["clsoe"], &["slow", "!fast"], None)).unwrap_err();
        insta::assert_snapshot!(error, @"
        no scenario has `clsoe` in its path or title and the tag `slow` and no tag `fast`; there are:
          the close [kind=core-31]
          the close [kind=knots-29]
          a crash
          a partition
          a race
          with the tags: container, fast, knots, slow
        ");
        let error = select(&selection(&["race"], &[], Some("2/2"))).unwrap_err();
        assert_eq!(error.to_string(), "shard 2/2 is empty: there is only 1 scenario to divide");
    }

    #[test]
    fn every_scenario_is_in_exactly_one_shard() {
        for of in 1..=5 {
            let mut seen = Vec::new();
            for number in 1..=of {
                let shard = selection(&[], &[], Some(&format!("{number}/{of}")));
                let selected = select(&shard).unwrap();
                assert!(selected.len() <= 5_usize.div_ceil(of), "the shards are of one size: {selected:?}");
                seen.extend(selected);
            }
            seen.sort();
            let mut all: Vec<_> = items().iter().map(|item| item.1).collect();
            all.sort();
            assert_eq!(seen, all, "{of} shards");
        }
    }

    #[test]
    fn shards_do_not_depend_on_the_order_of_the_files() {
        let shard = selection(&[], &[], Some("1/2"));
        let mut turned = items();
        turned.reverse();
        let mut selected: Vec<_> = shard.select(turned, about).unwrap().into_iter().map(|item| item.1).collect();
        selected.reverse();
        assert_eq!(selected, select(&shard).unwrap());
    }

    #[test]
    fn bad_shards_and_tags_say_why() {
        for (text, why) in [
            ("3", "there is no `/`"),
            ("0/3", "shards are counted from 1"),
            ("4/3", "there is no shard 4 of 3"),
            ("1/0", "there is no suite of 0 shards"),
            ("x/3", "`x` is no number of a shard: invalid digit found in string"),
        ] {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            assert_eq!(error, format!("`{text}`: {why}: expected something like `2/5`, the second of five parts"));
        }
        for text in ["", "!", "!!x", " "] {
            assert!(text.parse::<TagRule>().is_err(), "{text:?}");
        }
        assert_eq!("!slow".parse::<TagRule>().unwrap().to_string(), "!slow");
    }
}
