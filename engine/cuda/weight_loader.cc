#include "engine/cuda/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/cuda/runtime.h"

namespace fimd {

namespace {

constexpr size_t kPieceBytes = size_t{16} << 20;
constexpr int kThreads = 4;
constexpr int64_t kRowStep = 16;  // pieces begin at a multiple of it: see cuda::pack

struct Piece {
  const PackJob* job = nullptr;
  int64_t row_begin = 0;
  int64_t n_rows = 0;
  size_t row_bytes = 0;

  size_t bytes() const { return row_bytes * static_cast<size_t>(n_rows); }
};

std::vector<Piece> cut(const std::vector<PackJob>& jobs) {
  std::vector<Piece> pieces;
  for (const PackJob& job : jobs) {
    const auto row_bytes = job.from->bytes / static_cast<size_t>(job.from->rows);
    const auto affordable = static_cast<int64_t>(kPieceBytes / row_bytes);
    const int64_t step = std::max(kRowStep, affordable / kRowStep * kRowStep);
    for (int64_t row = 0; row < job.from->rows; row += step) {
      pieces.push_back({&job, row, std::min(step, job.from->rows - row), row_bytes});
    }
  }
  return pieces;
}

/// One thread's way to the device.
class Lane {
 public:
  Status open(int device, size_t bytes) {
    FIMD_RETURN_IF_ERROR(cuda::check(cudaSetDevice(device), "choosing the device"));
    FIMD_ASSIGN_OR_RETURN(host_, cuda::PinnedBuffer::make(bytes, "loading weights"));
    FIMD_ASSIGN_OR_RETURN(raw_, cuda::DeviceBuffer::make(bytes, "loading weights"));
    FIMD_ASSIGN_OR_RETURN(stream_, cuda::Stream::make());
    return {};
  }
  Status send(const Piece& piece) {
    const Weight& weight = *piece.job->from;
    std::memcpy(host_.data(), weight.data + static_cast<size_t>(piece.row_begin) * piece.row_bytes,
                piece.bytes());
    FIMD_RETURN_IF_ERROR(cuda::check(cudaMemcpyAsync(raw_.data(), host_.data(), piece.bytes(),
                                                     cudaMemcpyHostToDevice, stream_.get()),
                                     "sending weights"));
    cuda::pack(weight.type, raw_.data(), piece.row_begin, piece.n_rows, weight.rows, weight.cols,
               piece.job->to, stream_.get());
    FIMD_RETURN_IF_ERROR(cuda::check_launch("packing weights"));
    return stream_.synchronize();
  }

 private:
  cuda::PinnedBuffer host_;
  cuda::DeviceBuffer raw_;
  cuda::Stream stream_;
};

Status load_vectors(const std::vector<VectorJob>& jobs) {
  std::vector<float> decoded;
  std::vector<float> by_columns;
  for (const VectorJob& job : jobs) {
    const std::vector<float>* values = job.values;
    if (job.from != nullptr) {
      const auto rows = static_cast<size_t>(job.from->rows);
      const auto cols = static_cast<size_t>(job.from->cols);
      decoded.resize(rows * cols);
      dequantize(job.from->type, job.from->data, job.from->rows * job.from->cols, decoded.data());
      values = &decoded;
      if (rows > 1) {
        by_columns.resize(decoded.size());
        for (size_t r = 0; r < rows; ++r) {
          for (size_t c = 0; c < cols; ++c) by_columns[c * rows + r] = decoded[r * cols + c];
        }
        values = &by_columns;
      }
    }
    FIMD_RETURN_IF_ERROR(cuda::check(
        cudaMemcpy(job.to, values->data(), values->size() * sizeof(float), cudaMemcpyHostToDevice),
        "sending weights"));
  }
  return {};
}

}  // namespace

Status load_weights(const WeightJobs& jobs, int device,
                    const std::function<void(double)>& progress) {
  FIMD_RETURN_IF_ERROR(load_vectors(jobs.vectors));
  const std::vector<Piece> pieces = cut(jobs.matrices);
  size_t largest = 0;
  size_t total = 0;
  for (const Piece& piece : pieces) {
    largest = std::max(largest, piece.bytes());
    total += piece.bytes();
  }
  std::atomic<size_t> next = 0;
  std::atomic<size_t> done = 0;
  std::atomic<bool> stop = false;
  std::mutex mutex;  // guards failed
  Status failed;
  const auto work = [&](bool reports) {
    Lane lane;
    const auto run = [&]() -> Status {
      FIMD_RETURN_IF_ERROR(lane.open(device, largest));
      for (size_t i = next++; i < pieces.size() && !stop; i = next++) {
        FIMD_RETURN_IF_ERROR(lane.send(pieces[i]));
        done += pieces[i].bytes();
        if (reports && progress) {
          progress(static_cast<double>(done) / static_cast<double>(total));
        }
      }
      return {};
    };
    if (Status status = run(); !status.ok()) {
      stop = true;
      const std::lock_guard lock(mutex);
      failed = status;
    }
  };
  const size_t n = std::min<size_t>(kThreads, pieces.size());
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < n; ++i) helpers.emplace_back(work, false);
  work(true);
  for (std::thread& helper : helpers) helper.join();
  return failed;
}

}  // namespace fimd
