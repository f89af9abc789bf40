use crate::read::Section;

/// What holds where no rule of an app's signing policy speaks of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether the app may sign with it as it may use it. Default yes.
    pub permits_unruled: bool,
}

impl Policy {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let permits_unruled = section.choice("default", &[("permit", true), ("refuse", false)], true);
        Self { permits_unruled }
    }
}
