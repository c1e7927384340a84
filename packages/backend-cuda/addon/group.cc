#include "group.h"

#include "peer-meeting.h"

namespace quire {

void DeviceGroup::enter(const std::vector<int>& ordinals, const GroupPlace& tensor) {
  if (tensor.size == 1) return;
  auto meeting = PeerMeeting::of(std::string(tensor.id.internal, sizeof tensor.id.internal), tensor.size);
  meeting->enter(tensor.rank, ordinals);
  std::lock_guard lock(mutex_);
  if (aborted_) meeting->abort();
  meeting_ = std::move(meeting);
}

PeerExport DeviceGroup::exportPeer(int ordinal) {
  auto exports = std::make_unique<PeerExports>(ordinal);
  std::lock_guard lock(mutex_);
  if (aborted_) exports->abort();
  exports_ = std::move(exports);
  return exports_->own();
}

void DeviceGroup::importPeers(int rank, const std::vector<PeerExport>& all) { exports_->open(rank, all); }

void DeviceGroup::closePeers() {
  if (!exports_) return;
  exports_->close();
  exports_->othersClose();
}

void DeviceGroup::join(const GroupPlace& tensor, const GroupPlace& pipeline, bool usesPeers) {
  const auto open = [this](const GroupPlace& place, std::unique_ptr<NcclCommunicator>& to) {
    if (place.size == 1) return;
    auto opened = std::make_unique<NcclCommunicator>(place.id, place.rank, place.size);
    std::lock_guard lock(mutex_);
    if (aborted_) opened->abort();
    to = std::move(opened);
  };
  open(tensor, tensor_);
  if (usesPeers) peers_ = exports_ ? exports_->peers() : meeting_->peersOf(tensor.rank);
  else if (exports_) exports_->close();
  open(pipeline, pipeline_);
}

void DeviceGroup::abort() {
  std::lock_guard lock(mutex_);
  aborted_ = true;
  if (meeting_) meeting_->abort();
  if (exports_) exports_->abort();
  for (const auto& communicator : {tensor_.get(), pipeline_.get()}) {
    if (communicator != nullptr) communicator->abort();
  }
}

void DeviceGroup::leave() {
  std::lock_guard lock(mutex_);
  tensor_.reset();
  pipeline_.reset();
  meeting_.reset();
  exports_.reset();
}

}  // namespace quire
