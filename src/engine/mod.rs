#[derive(Debug, thiserror::Error)]
pub enum RequestError {}
impl RequestError {
    pub fn code(&self) -> &'static str {
        match *self {}
    }
}
