// gpu-probe FOLDER [STAGE...] runs all stages, or those named, each in a process of its own under its time cap: an error that
// sticks to the CUDA context, or a kernel that hangs, costs one stage. gpu-probe --stages lists them.
// Exit codes: 0 all done, or no device; 1 a stage failed; 2 wrong arguments.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "stages.h"

namespace {
enum Exit { kDone = 0, kFailed = 1, kUsage = 2, kNoDevice = 3 };

// What the process of a stage does.
int runStage(const Stage& stage, const std::string& folder) {
  // A stage stops starting new measurements shortly before it would be killed.
  const auto deadline = Probe::Clock::now() + std::chrono::seconds(stage.capSeconds - 3);
  try {
    stage.run(openProbe(stage.name, folder, deadline));
    return kDone;
  } catch (const NoDevice& e) {
    JsonLine("device").put("device", nullptr).put("reason", e.what()).emit();
    return kNoDevice;
  } catch (const std::exception& e) {
    JsonLine(stage.name).put("error", e.what()).emit();
    return kFailed;
  }
}

struct Outcome {
  int code;
  std::string how;
};

Outcome waitFor(pid_t child, int capSeconds) {
  const auto end = Probe::Clock::now() + std::chrono::seconds(capSeconds);
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (Probe::Clock::now() > end) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return {kFailed, format("stopped at its cap of %d s", capSeconds)};
    }
    usleep(5000);
  }
  if (WIFSIGNALED(status)) return {kFailed, format("ended by signal %d", WTERMSIG(status))};
  const int code = WEXITSTATUS(status);
  return {code, code == kDone ? "done" : "failed"};
}

Outcome runInChild(const Stage& stage, const std::string& folder) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return {kFailed, "fork failed"};
  // _exit: libraries opened by a stage must not run their destructors, which may wait for threads.
  if (child == 0) _exit(runStage(stage, folder));
  return waitFor(child, stage.capSeconds);
}

std::vector<Stage> chosenStages(int count, char** names) {
  std::vector<Stage> chosen;
  for (int i = 0; i < count; i++) {
    const auto* found = std::find_if(std::begin(kStages), std::end(kStages), [&](const Stage& s) { return std::strcmp(s.name, names[i]) == 0; });
    if (found == std::end(kStages)) {
      std::fprintf(stderr, "gpu-probe: unknown stage %s; gpu-probe --stages lists them\n", names[i]);
      std::exit(kUsage);
    }
    chosen.push_back(*found);
  }
  if (count == 0) chosen.assign(std::begin(kStages), std::end(kStages));
  return chosen;
}
}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--stages") == 0) {
    for (const Stage& stage : kStages) std::printf("%s\n", stage.name);
    return kDone;
  }
  if (argc < 2 || argv[1][0] == '-') {
    std::fprintf(stderr, "usage: gpu-probe FOLDER [STAGE...] | gpu-probe --stages\n");
    return kUsage;
  }
  // All kernels are loaded at the start, so that no first launch is timed, or captured, with its loading.
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  const auto started = Probe::Clock::now();
  std::string unfinished;
  for (const Stage& stage : chosenStages(argc - 2, argv + 2)) {
    const auto stageStarted = Probe::Clock::now();
    const Outcome outcome = runInChild(stage, argv[1]);
    if (outcome.code == kNoDevice) return kDone;
    if (outcome.code != kDone) unfinished += std::string(unfinished.empty() ? "" : " ") + stage.name;
    JsonLine(stage.name).put("end", outcome.how).put("seconds", std::chrono::duration<double>(Probe::Clock::now() - stageStarted).count()).emit();
  }
  JsonLine("probe").put("date", utcNow()).put("commit", commitOfBuild()).put("unfinished", unfinished).put("seconds", std::chrono::duration<double>(Probe::Clock::now() - started).count()).emit();
  return unfinished.empty() ? kDone : kFailed;
}
