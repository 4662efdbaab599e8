//! The device and what is asked of it: adapter, limits, buffers, submits, read-backs, and how it fails.
//!
//! Nothing outside this module reaches the device or its queue, so that [`Counts`] misses nothing.

mod commands;
mod counts;
mod features;
mod kernel;
mod profile;

use std::sync::{Arc, Mutex};

pub use commands::{Commands, Pass};
pub use counts::{Counter, Counts};
pub use features::Features;
use futures_channel::oneshot;
pub use kernel::{Access, Dispatch, Kernel, Workgroups, constant};
pub use profile::KernelTime;

/// What can go wrong on the way to, or on, the GPU.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error(
        "no WebGPU adapter: {0}. In a browser, WebGPU needs a secure page (https or localhost) and a recent version"
    )]
    NoAdapter(String),
    #[error("the adapter refused a device: {0}")]
    NoDevice(String),
    #[error(
        "the adapter \"{adapter}\" cannot hold this model: it needs {limit} of {needed}, the adapter allows {allowed}"
    )]
    Limit {
        adapter: String,
        limit: &'static str,
        needed: u64,
        allowed: u64,
    },
    #[error("the GPU has no room for {what}: {reason}")]
    OutOfMemory { what: String, reason: String },
    #[error("the GPU device was lost: {0}. Load the model again")]
    DeviceLost(String),
    #[error("the GPU refused a command: {0}")]
    Command(String),
    #[error("the kernels \"{kernels}\" need {feature}, which this device does not have")]
    MissingFeature { kernels: String, feature: &'static str },
    #[error("{0}: kernels of the two styles want the experts' weights in different orders. Choose both of one style")]
    MixedStyles(String),
    #[error("the GPU \"{0}\" computes wrong sums: its driver may need an update")]
    WrongResults(String),
    #[error("this device has no timestamps: it cannot tell what a kernel took")]
    NoTimestamps,
}

impl GpuError {
    pub fn code(&self) -> &'static str {
        match self {
            GpuError::NoAdapter(_) => "NoAdapter",
            GpuError::NoDevice(_) => "NoDevice",
            GpuError::Limit { .. } => "AdapterLimit",
            GpuError::OutOfMemory { .. } => "OutOfMemory",
            GpuError::DeviceLost(_) => "DeviceLost",
            GpuError::Command(_) => "GpuCommand",
            GpuError::MissingFeature { .. } => "MissingFeature",
            GpuError::MixedStyles(_) => "MixedStyles",
            GpuError::WrongResults(_) => "WrongResults",
            GpuError::NoTimestamps => "NoTimestamps",
        }
    }
}

/// Buffer sizes a model needs beyond what every WebGPU device has, and which of several adapters it wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requirements {
    /// The largest buffer, in bytes.
    pub buffer_bytes: u64,
    /// The largest part of a buffer that one kernel sees at once, in bytes.
    pub binding_bytes: u64,
    /// The adapter that saves power, not the fastest one.
    pub low_power: bool,
}

/// What is asked for where an adapter has it: timestamps for the profiler, the others for kernels (see [`Features`]).
const OPTIONAL: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// A device and its queue.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pub info: wgpu::AdapterInfo,
    counter: Counter,
    /// While [`Gpu::start_profile`] is in force and no submit is being recorded.
    profile: Mutex<Option<profile::Profile>>,
    /// The first failure the device reported on its own: once set, nothing it computes can be trusted.
    failure: Arc<Mutex<Option<Failure>>>,
    /// Gets the reason when the device is lost.
    loss: Mutex<Option<oneshot::Receiver<String>>>,
}

#[derive(Debug, Clone)]
enum Failure {
    Lost(String),
    Command(String),
}

impl Gpu {
    /// Opens the preferred adapter with WebGPU's default limits, raised only where `requirements` ask for it, and with
    /// the optional features it has that are of use.
    ///
    /// Natively `WGPU_BACKEND` and `WGPU_ADAPTER_NAME` choose among several adapters.
    pub async fn open(requirements: Requirements) -> Result<Gpu, GpuError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = find_adapter(&instance, requirements.low_power).await?;
        let info = adapter.get_info();
        let allowed = adapter.limits();
        let needed = wgpu::Limits {
            max_buffer_size: requirements.buffer_bytes.max(wgpu::Limits::default().max_buffer_size),
            max_storage_buffer_binding_size: (requirements.binding_bytes)
                .max(wgpu::Limits::default().max_storage_buffer_binding_size),
            ..wgpu::Limits::default().using_resolution(allowed.clone())
        };
        for (limit, needed, allowed) in [
            ("maxBufferSize", needed.max_buffer_size, allowed.max_buffer_size),
            (
                "maxStorageBufferBindingSize",
                needed.max_storage_buffer_binding_size,
                allowed.max_storage_buffer_binding_size,
            ),
        ] {
            if needed > allowed {
                return Err(GpuError::Limit {
                    adapter: info.name,
                    limit,
                    needed,
                    allowed,
                });
            }
        }
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("mobilemoe"),
                required_features: adapter.features() & OPTIONAL,
                required_limits: needed,
                ..Default::default()
            })
            .await
            .map_err(|error| GpuError::NoDevice(error.to_string()))?;

        let failure = Arc::new(Mutex::new(None));
        let lost = failure.clone();
        let (loss_sender, loss) = oneshot::channel();
        let loss_sender = Mutex::new(Some(loss_sender));
        device.set_device_lost_callback(move |reason, message| {
            let message = if message.is_empty() {
                format!("{reason:?}")
            } else {
                message
            };
            // Commands fail on a device that is gone: the loss is what to report.
            *lost.lock().unwrap() = Some(Failure::Lost(message.clone()));
            if let Some(sender) = loss_sender.lock().unwrap().take() {
                // Nobody may be listening.
                let _ = sender.send(message);
            }
        });
        let refused = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            refused
                .lock()
                .unwrap()
                .get_or_insert(Failure::Command(error.to_string()));
        }));
        Ok(Gpu {
            device,
            queue,
            info,
            counter: Counter::default(),
            profile: Mutex::default(),
            failure,
            loss: Mutex::new(Some(loss)),
        })
    }

    /// All that is known of the device: names, versions, features, limits. Two that differ in anything are not the same.
    pub fn identity(&self) -> String {
        format!(
            "{:?} {:?} {:?}",
            self.info,
            self.device.features(),
            self.device.limits()
        )
    }

    /// Resolves when the device is lost, even while nothing is asked of it; to `None` if it never was, or if somebody
    /// else listens already.
    pub fn lost(&self) -> impl Future<Output = Option<GpuError>> + use<> {
        let loss = self.loss.lock().unwrap().take();
        async move { loss?.await.ok().map(GpuError::DeviceLost) }
    }

    /// Fails if the device was lost or has refused a command since it was opened.
    pub fn check(&self) -> Result<(), GpuError> {
        match self.failure.lock().unwrap().clone() {
            None => Ok(()),
            Some(Failure::Lost(reason)) => Err(GpuError::DeviceLost(reason)),
            Some(Failure::Command(reason)) => Err(GpuError::Command(reason)),
        }
    }

    /// What is asked of the device, as it goes on.
    pub fn counter(&self) -> Counter {
        self.counter.clone()
    }

    fn count(&self, add: impl FnOnce(&mut Counts)) {
        self.counter.add(add);
    }

    fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.count(|counts| counts.buffers += 1);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    /// An empty storage buffer that can be written, copied and read back. Sizes are rounded up to 16 bytes.
    pub fn storage(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        self.buffer(label, bytes.max(16).next_multiple_of(16), usage)
    }

    /// A storage buffer for the grids of indirect dispatches.
    pub fn grids(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.buffer(label, bytes, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::INDIRECT)
    }

    /// A storage buffer with these contents.
    pub fn upload<T: bytemuck::NoUninit>(&self, label: &str, data: &[T]) -> wgpu::Buffer {
        let buffer = self.storage(label, size_of_val(data) as u64);
        self.write(&buffer, 0, bytemuck::cast_slice(data));
        buffer
    }

    /// Copies bytes into a buffer before the next submit. Offset and length are multiples of 4.
    pub fn write(&self, buffer: &wgpu::Buffer, offset_bytes: u64, bytes: &[u8]) {
        self.count(|counts| {
            counts.writes += 1;
            counts.written_bytes += bytes.len() as u64;
        });
        self.queue.write_buffer(buffer, offset_bytes, bytes);
    }

    /// A buffer the host can map, as the target of a copy.
    pub fn staging(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        self.buffer(label, bytes.next_multiple_of(4), usage)
    }

    /// Starts mapping a staging buffer; await the result to have its contents.
    pub fn map(&self, staging: &wgpu::Buffer) -> Mapping {
        self.count(|counts| counts.read_back_bytes += staging.size());
        let (sender, receiver) = oneshot::channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone only if the caller gave up waiting.
            let _ = sender.send(result);
        });
        Mapping {
            staging: staging.clone(),
            receiver,
        }
    }

    /// Waits for a mapping, takes the contents and unmaps the buffer for its next use.
    pub async fn finish<T: bytemuck::Pod>(&self, mapping: Mapping) -> Result<Vec<T>, GpuError> {
        self.wait(mapping.receiver)
            .await?
            .map_err(|error| self.check().err().unwrap_or(GpuError::Command(error.to_string())))?;
        let data = {
            let view = mapping.staging.slice(..).get_mapped_range();
            let view = view.map_err(|error| GpuError::Command(error.to_string()))?;
            bytemuck::pod_collect_to_vec(&view[..])
        };
        mapping.staging.unmap();
        self.check()?;
        Ok(data)
    }

    /// Reads a whole buffer back: for tests and tools, not for the decode path.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &wgpu::Buffer) -> Result<Vec<T>, GpuError> {
        let staging = self.staging("read back", buffer.size());
        let mut commands = self.commands();
        commands.copy(buffer, &staging, buffer.size());
        commands.submit();
        self.finish(self.map(&staging)).await
    }

    /// Waits until the GPU has done all that was submitted, so that memory held by pending uploads is free again.
    pub async fn idle(&self) -> Result<(), GpuError> {
        let (sender, receiver) = oneshot::channel();
        self.count(|counts| counts.submits += 1);
        self.queue.submit([]);
        self.queue.on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        self.wait(receiver).await?;
        self.check()
    }

    /// Runs commands that make things on the device; what fails names `what` could not be made.
    pub async fn guard<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<T, GpuError> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal); // a driver that does not compile a kernel
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make();
        let (validation, internal, memory) = (validation.pop(), internal.pop(), memory.pop());
        if let Some(error) = memory.await {
            return Err(GpuError::OutOfMemory {
                what: what.into(),
                reason: error.to_string(),
            });
        }
        let refused = validation.await;
        if let Some(error) = refused.or(internal.await) {
            return Err(GpuError::Command(format!("making {what}: {error}")));
        }
        self.check()?;
        Ok(made)
    }

    async fn wait<T>(&self, receiver: oneshot::Receiver<T>) -> Result<T, GpuError> {
        // The browser's event loop delivers by itself; natively somebody has to ask.
        #[cfg(not(target_arch = "wasm32"))]
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| self.check().err().unwrap_or(GpuError::Command(error.to_string())))?;
        receiver.await.map_err(|_| {
            self.check()
                .err()
                .unwrap_or(GpuError::DeviceLost("a read-back never came".into()))
        })
    }
}

/// A read-back under way.
pub struct Mapping {
    staging: wgpu::Buffer,
    receiver: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

/// The adapter that `WGPU_ADAPTER_NAME` names (natively), else the fastest one, or the one that saves power.
async fn find_adapter(instance: &wgpu::Instance, low_power: bool) -> Result<wgpu::Adapter, GpuError> {
    #[cfg(not(target_arch = "wasm32"))]
    if let Ok(wanted) = std::env::var("WGPU_ADAPTER_NAME") {
        let adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
        let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
        return (adapters.into_iter())
            .find(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted.to_lowercase()))
            .ok_or_else(|| GpuError::NoAdapter(format!("none is called \"{wanted}\"; there are {names:?}")));
    }
    instance
        .request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: if low_power {
                wgpu::PowerPreference::LowPower
            } else {
                wgpu::PowerPreference::HighPerformance
            },
            ..Default::default()
        })
        .await
        .map_err(|error| GpuError::NoAdapter(error.to_string()))
}
