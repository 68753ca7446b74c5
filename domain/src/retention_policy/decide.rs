//! How long a class may be kept, and when its keys expire.

use crate::aggregate::Decide;

use super::{Command, Error, Event, RetentionPolicy, class, expires_at};

impl Decide for RetentionPolicy {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match command {
            Command::SetClass { class: name, days, by } => {
                let class = class(name.as_str()).ok_or_else(|| Error::ClassUnknown(name.clone()))?;
                if !(class.days_min..=class.days_max).contains(&days) {
                    return Err(Error::DaysOutOfBounds { days_min: class.days_min, days_max: class.days_max });
                }
                if self.days.get(&name) == Some(&days) {
                    return Ok(vec![]);
                }
                Ok(vec![Event::ClassSet { class: name, days, by }])
            }
            Command::Expire { class: name, period, key_id, held, now } => {
                if self.expired.contains_key(&key_id) {
                    return Ok(vec![]);
                }
                let class = class(name.as_str()).ok_or_else(|| Error::ClassUnknown(name.clone()))?;
                let days = self.days(class);
                if now < expires_at(period, days) {
                    return Err(Error::NotDue);
                }
                if held {
                    return Err(Error::Held);
                }
                Ok(vec![Event::KeyExpired { class: name, period, key_id, days }])
            }
            Command::Complete { key_id, destroyed_at } => match self.expired.get(&key_id) {
                Some(key) => {
                    let (class, period) = (key.class.clone(), key.period);
                    Ok(vec![Event::KeyDestroyed { class, period, key_id, destroyed_at }])
                }
                // Completed before.
                None => Ok(vec![]),
            },
        }
    }
}
