//! Why a subscription refuses, and every code of the context.

use chrono::{DateTime, Utc};

use crate::{
    money::Currency,
    refusal::{Code, Kind, Refusal},
};

use super::{
    TRIAL_DAYS_MAX,
    period::{START_YEAR_MAX, START_YEAR_MIN},
    plan::{PRICE_MINOR_MAX, SEATS_MAX},
};

/// Why a subscription refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such subscription")]
    NotFound,
    #[error("the subscription already exists")]
    AlreadyExists,
    #[error("the subscription is cancelled and accepts nothing")]
    Cancelled,
    #[error("the subscription is in its trial")]
    Trialing,
    #[error("the subscription is paused")]
    Paused,
    #[error("the subscription is past due")]
    PastDue,
    #[error("the trial lasts until {}", .0.to_rfc3339())]
    TrialNotOver(DateTime<Utc>),
    #[error("the next period begins at {}", .0.to_rfc3339())]
    PeriodNotDue(DateTime<Utc>),
    #[error("what was due at {} has not been done yet", .0.to_rfc3339())]
    PeriodDue(DateTime<Utc>),
    #[error("a change is already scheduled for the end of the period")]
    ChangeAlreadyScheduled,
    #[error("the subscription is to be cancelled at the end of its trial")]
    CancellationScheduled,
    #[error("no cancellation is scheduled")]
    NoCancellationScheduled,
    #[error("the subscription is in {subscription}, the plan in {plan}")]
    CurrencyMismatch { subscription: Currency, plan: Currency },
    #[error("a price of {0} minor units is not within 0 and {PRICE_MINOR_MAX}")]
    AmountOutOfRange(i64),
    #[error("{0} seats are not within 1 and {SEATS_MAX}")]
    SeatsOutOfRange(u32),
    #[error("a trial of {0} days is not within 0 and {TRIAL_DAYS_MAX}")]
    TrialDaysOutOfRange(u32),
    #[error("a start at {} is not within the years {START_YEAR_MIN} and {START_YEAR_MAX}", .0.to_rfc3339())]
    StartOutOfRange(DateTime<Utc>),
}

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "subscription_not_found", kind: Kind::NotFound, meaning: "There is no such subscription." },
    Code {
        code: "subscription_already_exists",
        kind: Kind::Conflict,
        meaning: "A subscription with this id exists already.",
    },
    Code {
        code: "subscription_cancelled",
        kind: Kind::Conflict,
        meaning: "The subscription is cancelled and accepts no command.",
    },
    Code {
        code: "subscription_trialing",
        kind: Kind::Conflict,
        meaning: "The command needs a subscription that is past its trial.",
    },
    Code {
        code: "subscription_paused",
        kind: Kind::Conflict,
        meaning: "The command needs a subscription that is not paused; resume it first.",
    },
    Code {
        code: "subscription_past_due",
        kind: Kind::Conflict,
        meaning: "The command needs a subscription that is not past due; mark it paid first.",
    },
    Code {
        code: "subscription_trial_not_over",
        kind: Kind::Conflict,
        meaning: "The trial has not come to its end; to end it early, activate the subscription.",
    },
    Code {
        code: "subscription_period_not_due",
        kind: Kind::Conflict,
        meaning: "The current period has not come to its end.",
    },
    Code {
        code: "subscription_period_due",
        kind: Kind::Conflict,
        meaning: "Something was due before this moment and must be done first; try again shortly.",
    },
    Code {
        code: "subscription_change_already_scheduled",
        kind: Kind::Conflict,
        meaning: "Another change waits for the end of the period, and one may wait at a time.",
    },
    Code {
        code: "subscription_cancellation_scheduled",
        kind: Kind::Conflict,
        meaning: "The subscription is to be cancelled at the end of its trial; undo that first.",
    },
    Code {
        code: "subscription_no_cancellation_scheduled",
        kind: Kind::Conflict,
        meaning: "There is no scheduled cancellation to undo.",
    },
    Code {
        code: "subscription_currency_mismatch",
        kind: Kind::Conflict,
        meaning: "The plan is priced in another currency than the subscription, whose currency never changes.",
    },
    Code {
        code: "subscription_amount_out_of_range",
        kind: Kind::Invalid,
        meaning: "The price per seat is negative or higher than allowed.",
    },
    Code {
        code: "subscription_seats_out_of_range",
        kind: Kind::Invalid,
        meaning: "A subscription has from 1 to 100000 seats.",
    },
    Code {
        code: "subscription_trial_days_out_of_range",
        kind: Kind::Invalid,
        meaning: "A trial lasts from 0 to 365 days.",
    },
    Code {
        code: "subscription_start_out_of_range",
        kind: Kind::Invalid,
        meaning: "A subscription starts in the years 2000 to 2199.",
    },
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "subscription_not_found",
            Self::AlreadyExists => "subscription_already_exists",
            Self::Cancelled => "subscription_cancelled",
            Self::Trialing => "subscription_trialing",
            Self::Paused => "subscription_paused",
            Self::PastDue => "subscription_past_due",
            Self::TrialNotOver(_) => "subscription_trial_not_over",
            Self::PeriodNotDue(_) => "subscription_period_not_due",
            Self::PeriodDue(_) => "subscription_period_due",
            Self::ChangeAlreadyScheduled => "subscription_change_already_scheduled",
            Self::CancellationScheduled => "subscription_cancellation_scheduled",
            Self::NoCancellationScheduled => "subscription_no_cancellation_scheduled",
            Self::CurrencyMismatch { .. } => "subscription_currency_mismatch",
            Self::AmountOutOfRange(_) => "subscription_amount_out_of_range",
            Self::SeatsOutOfRange(_) => "subscription_seats_out_of_range",
            Self::TrialDaysOutOfRange(_) => "subscription_trial_days_out_of_range",
            Self::StartOutOfRange(_) => "subscription_start_out_of_range",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AmountOutOfRange(_)
            | Self::SeatsOutOfRange(_)
            | Self::TrialDaysOutOfRange(_)
            | Self::StartOutOfRange(_) => Kind::Invalid,
            Self::AlreadyExists
            | Self::Cancelled
            | Self::Trialing
            | Self::Paused
            | Self::PastDue
            | Self::TrialNotOver(_)
            | Self::PeriodNotDue(_)
            | Self::PeriodDue(_)
            | Self::ChangeAlreadyScheduled
            | Self::CancellationScheduled
            | Self::NoCancellationScheduled
            | Self::CurrencyMismatch { .. } => Kind::Conflict,
        }
    }
}
