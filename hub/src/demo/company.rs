//! Who the tenants of the demo are: invented companies, each with a name and addresses of its own.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

/// What the companies are called; each is used before one comes again.
const NAMES: [&str; 50] = [
    "Nordlicht",
    "Alpenrose",
    "Blue Heron",
    "Kestrel",
    "Morgentau",
    "Silverbirch",
    "Hafenblick",
    "Red Maple",
    "Lindenhof",
    "Copperfield",
    "Bergkristall",
    "Saltmarsh",
    "Weissdorn",
    "Foxglove",
    "Eisvogel",
    "Larkspur",
    "Steinbock",
    "Harbourlight",
    "Goldregen",
    "Windermark",
    "Tannenberg",
    "Greywater",
    "Sonnblick",
    "Thistledown",
    "Rotbuche",
    "Brightwell",
    "Murmel",
    "Oakhollow",
    "Seeadler",
    "Millbrook",
    "Enzian",
    "Stonebridge",
    "Wacholder",
    "Fernleigh",
    "Kranich",
    "Highmoor",
    "Feldspat",
    "Driftwood",
    "Heidekraut",
    "Clearbrook",
    "Quendel",
    "Ashcombe",
    "Silberdistel",
    "Northgate",
    "Glimmer",
    "Riverbend",
    "Zirbel",
    "Whitecap",
    "Basalt",
    "Evergreen",
];

/// What the companies do.
const TRADES: [&str; 25] = [
    "Logistics",
    "Dental",
    "Architects",
    "Foods",
    "Robotics",
    "Legal",
    "Hotels",
    "Brewing",
    "Optics",
    "Textiles",
    "Insurance",
    "Biotech",
    "Publishing",
    "Solar",
    "Tooling",
    "Pharmacy",
    "Travel",
    "Acoustics",
    "Cycles",
    "Furniture",
    "Consulting",
    "Ceramics",
    "Radiology",
    "Games",
    "Timber",
];

/// First names of the people who work there.
pub(super) const PEOPLE: [&str; 16] = [
    "anna", "ben", "clara", "david", "elif", "felix", "greta", "hugo", "ines", "jonas", "kaja", "luca", "mira", "noah",
    "olga", "paul",
];

/// Their family names.
pub(super) const FAMILIES: [&str; 12] = [
    "keller",
    "novak",
    "moreau",
    "lindqvist",
    "ferrari",
    "hughes",
    "yilmaz",
    "brandt",
    "silva",
    "okafor",
    "weber",
    "dunn",
];

/// An invented company.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Company {
    /// Its name for people.
    pub name: String,
    /// Its slug, as long as nobody else has it.
    pub slug: String,
}

/// The company at a place in the cast of a seed. Up to 1,250 places have different companies.
#[must_use]
pub fn company(seed: u64, index: usize) -> Company {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut names = NAMES;
    let mut trades = TRADES;
    names.shuffle(&mut rng);
    trades.shuffle(&mut rng);
    // Every fiftieth company has the same name, and 50 is a multiple of 25, so the trade moves on once a round.
    let round = index / names.len();
    let name = names[index % names.len()];
    let trade = trades[(index + round) % trades.len()];
    let slug = format!("{name} {trade}").to_ascii_lowercase().replace(' ', "-");
    Company { name: format!("{name} {trade}"), slug }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hub_domain::role::Principal;
    use hub_domain::text::{DomainName, Email, Name, Slug};

    use super::{PEOPLE, company};

    #[test]
    fn companies_pass_the_gates_of_the_domain() {
        for index in 0..1_250 {
            let company = company(7, index);
            assert_eq!(company.slug.parse::<Slug>().unwrap().as_str(), company.slug);
            company.name.parse::<Name>().unwrap();
            format!("www.{}.example", company.slug).parse::<DomainName>().unwrap();
            format!("ops@{}.example", company.slug).parse::<Email>().unwrap();
            let person = PEOPLE[index % PEOPLE.len()];
            format!("user:{}/{person}", company.slug).parse::<Principal>().unwrap();
        }
    }

    #[test]
    fn no_two_companies_of_a_seed_are_the_same() {
        let slugs: BTreeSet<_> = (0..1_250).map(|index| company(3, index).slug).collect();
        assert_eq!(slugs.len(), 1_250);
    }

    #[test]
    fn another_seed_has_another_cast() {
        let cast = |seed| (0..10).map(|index| company(seed, index).slug).collect::<Vec<_>>();
        assert_eq!(cast(1), cast(1));
        assert_ne!(cast(1), cast(2));
    }
}
