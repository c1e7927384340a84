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

void DeviceGroup::join(const GroupPlace& tensor, const GroupPlace& pipeline) {
  const auto open = [this](const GroupPlace& place, std::unique_ptr<NcclCommunicator>& to) {
    if (place.size == 1) return;
    auto opened = std::make_unique<NcclCommunicator>(place.id, place.rank, place.size);
    std::lock_guard lock(mutex_);
    if (aborted_) opened->abort();
    to = std::move(opened);
  };
  open(tensor, tensor_);
  if (meeting_) peers_ = meeting_->peersOf(tensor.rank);
  open(pipeline, pipeline_);
}

void DeviceGroup::abort() {
  std::lock_guard lock(mutex_);
  aborted_ = true;
  if (meeting_) meeting_->abort();
  for (const auto& communicator : {tensor_.get(), pipeline_.get()}) {
    if (communicator != nullptr) communicator->abort();
  }
}

void DeviceGroup::leave() {
  std::lock_guard lock(mutex_);
  tensor_.reset();
  pipeline_.reset();
  meeting_.reset();
}

}  // namespace quire
