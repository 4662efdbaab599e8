#[derive(Debug, thiserror::Error)]
pub enum TextError {}
impl TextError {
    pub fn code(&self) -> &'static str {
        match *self {}
    }
}
