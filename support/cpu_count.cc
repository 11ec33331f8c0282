#include "support/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <utility>

namespace fimd {

namespace {

/// CPUs' worth of time the control group allows, or 0 if it sets no limit (cgroup v2 or v1).
double quota() {
  std::ifstream unified("/sys/fs/cgroup/cpu.max");
  std::string limit;
  double period = 0;
  if (unified >> limit >> period && limit != "max" && period > 0) {
    return std::strtod(limit.c_str(), nullptr) / period;
  }
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota_us = 0;
  if (quota_file >> quota_us && period_file >> period && quota_us > 0 && period > 0) {
    return quota_us / period;
  }
  return 0;
}

}  // namespace

int usable_physical_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::pair<int, int> core(-1, -1);
    std::ifstream(topology + "physical_package_id") >> core.first;
    std::ifstream core_file(topology + "core_id");
    // Where the topology is hidden every CPU counts.
    if (!(core_file >> core.second)) core = {-2, cpu};
    cores.insert(core);
  }
  int count = std::max(1, static_cast<int>(cores.size()));
  if (const double limit = quota(); limit > 0) {
    count = std::min(count, std::max(1, static_cast<int>(std::ceil(limit))));
  }
  return count;
}

}  // namespace fimd
