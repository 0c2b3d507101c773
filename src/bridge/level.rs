//! The levels of nginx's logs.

/// nginx's log levels (`ngx_log.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Emerg = 1,
    Alert,
    Crit,
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}

impl Level {
    /// As nginx writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Emerg => "emerg",
            Self::Alert => "alert",
            Self::Crit => "crit",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The level of nginx's number; what lies outside is `info`.
    pub(crate) fn from_number(number: u8) -> Self {
        const LEVELS: [Level; 8] = [
            Level::Emerg,
            Level::Alert,
            Level::Crit,
            Level::Error,
            Level::Warn,
            Level::Notice,
            Level::Info,
            Level::Debug,
        ];
        LEVELS.get(usize::from(number).wrapping_sub(1)).copied().unwrap_or(Level::Info)
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_a_level() {
        for level in [Level::Emerg, Level::Error, Level::Info, Level::Debug] {
            assert_eq!(Level::from_number(level as u8), level);
        }
        assert_eq!(Level::from_number(0), Level::Info);
        assert_eq!(Level::from_number(9), Level::Info);
    }
}
