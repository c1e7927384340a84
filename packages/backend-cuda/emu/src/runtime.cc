// The runtime API over host memory: several devices, in-order streams, events, graphs, injected errors.
#include "cuda_runtime.h"

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

#include <unistd.h>

#include "ipc.h"

using Clock = std::chrono::steady_clock;

// One recorded operation of a graph. An exchange waits for other devices.
struct EmuNode {
  enum class Kind { kernel, copy, set, exchange } kind;
  emu::LaunchConfig config;
  std::function<void()> run;
};
struct EmuGraph {
  std::vector<EmuNode> nodes;
  // Where it was instantiated.
  int device = 0;
};
// A stream runs what it is given at once, except that the youngest kernel stays open until the next operation is known: a
// programmatic dependent launch runs up to its wait before it.
struct EmuStream {
  int device = 0;
  std::unique_ptr<emu::Grid> open;
  std::unique_ptr<EmuGraph> capturing;
};
struct EmuEvent {
  Clock::time_point time;
};

namespace {
// What each device of the machine has of its own. A sticky error ends its context and no other.
struct EmuDevice {
  std::atomic<cudaError_t> sticky{cudaSuccess}, last{cudaSuccess};
  std::string fault, faultOperation;
  size_t allocatedBytes = 0;
  EmuStream defaultStream;
};
struct Allocation {
  size_t bytes;
  int device;
  // Once other processes may open it; -1 before.
  int file = -1;
};
std::array<EmuDevice, emu::kDevices> devices;
thread_local int currentDevice = 0;

// All devices share the processor: one operation runs at a time, and one that waits for another device lets the others run.
std::mutex chipMutex;
std::condition_variable chipMoved;
std::atomic<cudaError_t> injected{cudaSuccess};
std::atomic<int> callsUntilInjected{-1};
std::map<void*, Allocation> allocations;
constexpr size_t kTotalMemory = size_t{1} << 30;
// What an instantiated graph takes of the device, by node.
constexpr size_t kGraphNodeBytes = 1024;

EmuDevice& here() { return devices[currentDevice]; }
bool isSticky(cudaError_t e) { return e == cudaErrorIllegalAddress || e == cudaErrorLaunchFailure || e == cudaErrorUnknown; }

cudaError_t report(cudaError_t e) {
  if (isSticky(e)) here().sticky = e;
  if (e != cudaSuccess) here().last = e;
  return e;
}
// Every call passes here: sticky errors come back from each, injected ones from the k-th.
cudaError_t enter() {
  if (here().sticky != cudaSuccess) return report(here().sticky);
  if (callsUntilInjected >= 0 && callsUntilInjected-- == 0) return report(injected);
  return cudaSuccess;
}

EmuStream& streamOf(cudaStream_t stream) {
  if (stream != nullptr) return *stream;
  here().defaultStream.device = currentDevice;
  return here().defaultStream;
}

// The stream's kernels are abandoned, and so is every later one: the error is sticky.
cudaError_t failed(EmuStream& s, const emu::KernelFault& f) {
  EmuDevice& device = devices[s.device];
  s.open.reset();
  device.fault = f.message;
  device.faultOperation = f.operation;
  return device.sticky = device.last = cudaErrorLaunchFailure;
}

using Lock = std::unique_lock<std::mutex>;

// Runs the stream's open kernel to its end. One that waits for a peer runs again when other devices may have moved.
cudaError_t finish(EmuStream& s, Lock& lock) {
  if (devices[s.device].sticky != cudaSuccess) s.open.reset();
  try {
    while (s.open) {
      s.open->run();
      chipMoved.notify_all();
      if (s.open->finished()) s.open.reset();
      else chipMoved.wait_for(lock, std::chrono::milliseconds(1));
    }
    return cudaSuccess;
  } catch (const emu::KernelFault& f) {
    return failed(s, f);
  }
}
cudaError_t finish(EmuStream& s) {
  Lock lock(chipMutex);
  return finish(s, lock);
}

// Starts a kernel behind the stream's open one. A dependent's blocks run up to their wait before the kernel in front has run at
// all. The hardware starts them later, but promises no more: what they read or write before the wait must not depend on it.
cudaError_t start(EmuStream& s, const emu::LaunchConfig& config, const std::function<void()>& body, Lock& lock) {
  if (!config.programmatic || !s.open) {
    if (const cudaError_t e = finish(s, lock); e != cudaSuccess) return e;
    s.open = std::make_unique<emu::Grid>(config, body);
    return cudaSuccess;
  }
  auto next = std::make_unique<emu::Grid>(config, body);
  next->dependencyDone = false;
  try {
    next->run(true);
  } catch (const emu::KernelFault& f) {
    return failed(s, f);
  }
  if (const cudaError_t e = finish(s, lock); e != cudaSuccess) return e;
  next->releaseDependency();
  s.open = std::move(next);
  return cudaSuccess;
}

cudaError_t enqueue(cudaStream_t stream, EmuNode node) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  Lock lock(chipMutex);
  EmuStream& s = streamOf(stream);
  if (s.capturing) {
    s.capturing->nodes.push_back(std::move(node));
    return cudaSuccess;
  }
  if (node.kind == EmuNode::Kind::kernel) {
    const cudaError_t e = start(s, node.config, node.run, lock);
    // Nobody asks a device for more because another one waits for it: what others wait for runs at once.
    return e == cudaSuccess && node.config.meetsPeers ? finish(s, lock) : e;
  }
  if (const cudaError_t e = finish(s, lock); e != cudaSuccess) return e;
  if (node.kind == EmuNode::Kind::exchange) lock.unlock();
  try {
    node.run();
    return cudaSuccess;
  } catch (const emu::KernelFault& f) {
    if (!lock.owns_lock()) lock.lock();
    return failed(s, f);
  }
}
}  // namespace

namespace emu {
cudaError_t launch(const LaunchConfig& config, std::function<void()> body, cudaStream_t stream) {
  LaunchConfig labelled = config;
  labelled.operation = operation;
  labelled.meetsPeers = meetsPeers;
  labelled.cluster = clusterBlocks;
  return enqueue(stream, {EmuNode::Kind::kernel, std::move(labelled), std::move(body)});
}
cudaError_t exchange(std::function<void()> run, cudaStream_t stream) { return enqueue(stream, {EmuNode::Kind::exchange, {}, std::move(run)}); }
GraphNodes graphNodes(cudaGraph_t graph) {
  GraphNodes n;
  for (const auto& node : graph->nodes) {
    n.kernels += node.kind == EmuNode::Kind::kernel || node.kind == EmuNode::Kind::exchange;
    n.copies += node.kind == EmuNode::Kind::copy;
    n.sets += node.kind == EmuNode::Kind::set;
  }
  return n;
}
std::string lastFault() {
  std::lock_guard lock(chipMutex);
  return here().fault;
}
std::string faultedOperation() {
  std::lock_guard lock(chipMutex);
  return here().faultOperation;
}
void injectError(cudaError_t error, int afterCalls) {
  injected = error;
  callsUntilInjected = afterCalls;
}
}  // namespace emu

const char* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorDeviceUninitialized: return "cudaErrorDeviceUninitialized";
    case cudaErrorMapBufferObjectFailed: return "cudaErrorMapBufferObjectFailed";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    default: return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }
cudaError_t cudaGetLastError() {
  const cudaError_t e = here().last;
  here().last = here().sticky.load();
  return e;
}
cudaError_t cudaPeekAtLastError() { return here().last; }

cudaError_t cudaGetDeviceCount(int* count) { return *count = emu::kDevices, enter(); }
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= emu::kDevices) return report(cudaErrorInvalidDevice);
  currentDevice = device;
  return enter();
}
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = {"CUDA emulator", kTotalMemory, emu::chip().smCount, 9, 0, emu::chip().sharedBytes};
  return enter();
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = emu::chip().smCount; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(emu::chip().sharedBytes); break;
    case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrClusterLaunch: *value = emu::hasClusters(); break;
  }
  return enter();
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = kTotalMemory;
  *free = kTotalMemory - here().allocatedBytes;
  return enter();
}
// Every device reaches the memory of every other: there is one memory.
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) { return *can = device != peer, enter(); }
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return enter(); }
cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  if (device < 0 || device >= emu::kDevices) return report(cudaErrorInvalidDevice);
  std::snprintf(id, static_cast<size_t>(length), "0000:%02x:00.0", device + 1);
  return enter();
}
cudaError_t cudaDeviceGetByPCIBusId(int* device, const char* id) {
  unsigned bus = 0;
  if (std::sscanf(id, "0000:%x:00.0", &bus) != 1 || bus < 1 || bus > emu::kDevices) return report(cudaErrorInvalidDevice);
  return *device = static_cast<int>(bus) - 1, enter();
}
cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  return finish(streamOf(nullptr));
}
cudaError_t cudaDeviceReset() {
  here().sticky = here().last = cudaSuccess;
  here().fault.clear();
  here().faultOperation.clear();
  return cudaSuccess;
}

// Device memory begins as NaN bits: what a kernel reads before it is written shows.
cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  std::lock_guard lock(chipMutex);
  if (here().allocatedBytes + bytes > kTotalMemory) return report(cudaErrorMemoryAllocation);
  const size_t rounded = (bytes + 255) / 256 * 256;
  // What may become a file is whole pages.
  *pointer = std::aligned_alloc(rounded % emu::kIpcBytes == 0 ? 4096 : 256, rounded == 0 ? 4096 : rounded);
  std::memset(*pointer, 0xff, rounded);
  allocations[*pointer] = {bytes, currentDevice};
  here().allocatedBytes += bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  std::lock_guard lock(chipMutex);
  const auto found = allocations.find(pointer);
  if (found == allocations.end()) return report(cudaErrorInvalidValue);
  if (const int file = found->second.file; file >= 0 && !emu::unshareMemory(pointer, found->second.bytes, file)) {
    // What a GPU does then is undefined.
    std::fputs("cudaFree of memory that another process has open: it must be closed there first\n", stderr);
    std::abort();
  }
  devices[found->second.device].allocatedBytes -= found->second.bytes;
  allocations.erase(found);
  std::free(pointer);
  return enter();
}

// Other processes get whole blocks: what shares one with other allocations is not given away here.
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* pointer) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  std::lock_guard lock(chipMutex);
  const auto found = allocations.find(pointer);
  if (found == allocations.end() || found->second.bytes == 0 || found->second.bytes % emu::kIpcBytes != 0) return report(cudaErrorInvalidValue);
  Allocation& allocation = found->second;
  if (allocation.file < 0) allocation.file = emu::shareMemory(pointer, allocation.bytes);
  if (allocation.file < 0) return report(cudaErrorMapBufferObjectFailed);
  const emu::IpcHandle own = emu::handleOf(allocation.file, allocation.bytes);
  *handle = {};
  std::memcpy(handle, &own, sizeof own);
  return cudaSuccess;
}
cudaError_t cudaIpcOpenMemHandle(void** pointer, cudaIpcMemHandle_t handle, unsigned) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  emu::IpcHandle other;
  std::memcpy(&other, &handle, sizeof other);
  if (other.process == getpid()) return report(cudaErrorDeviceUninitialized);
  *pointer = emu::openMemory(other);
  return *pointer == nullptr ? report(cudaErrorMapBufferObjectFailed) : cudaSuccess;
}
cudaError_t cudaIpcCloseMemHandle(void* pointer) { return emu::closeMemory(pointer) ? enter() : report(cudaErrorInvalidValue); }

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  *pointer = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) { return std::free(pointer), cudaSuccess; }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return enqueue(stream, {EmuNode::Kind::copy, {}, [=] { std::memmove(to, from, bytes); }});
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) { return cudaMemcpyAsync(to, from, bytes, kind, nullptr); }
cudaError_t cudaMemset(void* pointer, int value, size_t bytes) { return cudaMemsetAsync(pointer, value, bytes, nullptr); }
cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  return enqueue(stream, {EmuNode::Kind::set, {}, [=] { std::memset(pointer, value, bytes); }});
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return *stream = new EmuStream{currentDevice, nullptr, nullptr}, enter(); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const cudaError_t e = finish(*stream);
  delete stream;
  return e;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  if (streamOf(stream).capturing) return report(cudaErrorStreamCaptureUnsupported);
  return finish(streamOf(stream));
}
// Streams run in call order, so an event that was recorded has passed.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t, unsigned) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  return streamOf(stream).capturing ? cudaSuccess : finish(streamOf(stream));
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return *event = new EmuEvent, enter(); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  const cudaError_t e = streamOf(stream).capturing ? cudaSuccess : finish(streamOf(stream));
  event->time = Clock::now();
  return e;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return enter(); }
cudaError_t cudaEventQuery(cudaEvent_t) { return enter(); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  *milliseconds = std::chrono::duration<float, std::milli>(stop->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  if (const cudaError_t e = finish(*stream); e != cudaSuccess) return e;
  stream->capturing = std::make_unique<EmuGraph>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->capturing) return report(cudaErrorInvalidValue);
  *graph = stream->capturing.release();
  return enter();
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = nullptr;
  if (const cudaError_t e = enter(); e != cudaSuccess) return e;
  const size_t bytes = graph->nodes.size() * kGraphNodeBytes;
  std::lock_guard lock(chipMutex);
  if (here().allocatedBytes + bytes > kTotalMemory) return report(cudaErrorMemoryAllocation);
  here().allocatedBytes += bytes;
  *exec = new EmuGraph(*graph);
  (*exec)->device = currentDevice;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const auto& node : exec->nodes) {
    if (const cudaError_t e = enqueue(stream, node); e != cudaSuccess) return e;
  }
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  std::lock_guard lock(chipMutex);
  devices[exec->device].allocatedBytes -= exec->nodes.size() * kGraphNodeBytes;
  return delete exec, cudaSuccess;
}
