#[derive(Debug, thiserror::Error)]
pub enum GpuError {}
impl GpuError {
    pub fn code(&self) -> &'static str {
        match *self {}
    }
}
