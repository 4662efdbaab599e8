//! What can be wrong with a constraint.

#[derive(Debug, thiserror::Error)]
pub enum ConstraintError {
    #[error("the vocabulary cannot be used: {detail}")]
    Vocabulary { detail: String },
    #[error("the schema is not JSON: {0}")]
    SchemaJson(#[source] serde_json::Error),
    #[error("the schema is {found}; expected an object")]
    NoSchema { found: String },
    #[error("the regex is empty: it allows no text at all")]
    EmptyRegex,
    #[error("unknown kind of format \"{kind}\"")]
    Kind { kind: String },
    #[error("the constraint cannot be compiled: {detail}")]
    Compile { detail: String },
    #[error("the constraint failed while the answer was generated: {detail}")]
    Run { detail: String },
}

impl ConstraintError {
    /// What JavaScript sees as `error.code`: whether the format asked for is at fault, or something went wrong later.
    pub fn code(&self) -> &'static str {
        match self {
            ConstraintError::Run { .. } | ConstraintError::Vocabulary { .. } => "ConstraintFailed",
            _ => "BadConstraint",
        }
    }

    pub(crate) fn compile(error: impl ToString) -> ConstraintError {
        let detail = error.to_string();
        ConstraintError::Compile { detail }
    }

    pub(crate) fn run(error: impl ToString) -> ConstraintError {
        let detail = error.to_string();
        // llguidance's word for it.
        let detail = match detail.starts_with("NoExtensionBias") {
            true => "no token can follow, and the text is not whole".into(),
            false => detail.trim_end_matches(" <non-verbose/>").into(),
        };
        ConstraintError::Run { detail }
    }
}
