#include <cassert>
#include <string>

#include "kernels/cpu/matrix_impl.h"

namespace fimd::cpu {

Matrix::Matrix() = default;
Matrix::~Matrix() = default;
Matrix::Matrix(Matrix&&) noexcept = default;
Matrix& Matrix::operator=(Matrix&&) noexcept = default;

Result<Matrix> Matrix::make(DType type, const void* data, int64_t rows, int64_t cols) {
  const FormatInfo* format = find_format(static_cast<uint32_t>(type));
  if (!format) {
    return Error{ErrorCode::kUnsupported,
                 "no kernels for tensor type " + std::to_string(static_cast<uint32_t>(type))};
  }
  constexpr int64_t kMost = int64_t{1} << 31;
  if (!data || rows <= 0 || cols <= 0 || rows >= kMost || cols >= kMost) {
    return Error{ErrorCode::kInvalidArgument, "a weight matrix cannot have " +
                                                  std::to_string(rows) + " rows and " +
                                                  std::to_string(cols) + " columns"};
  }
  if (cols % format->block_elements != 0) {
    return Error{ErrorCode::kInvalidArgument,
                 std::to_string(cols) + " columns do not divide into blocks of " +
                     std::to_string(format->block_elements) + " (" + format->name + ")"};
  }
  Matrix matrix;
  matrix.impl_ = std::make_unique<Impl>();
  Impl& m = *matrix.impl_;
  m.type = type;
  m.rows = rows;
  m.cols = cols;
  m.file = static_cast<const uint8_t*>(data);
  m.file_row_bytes = row_bytes(*format, cols);
  m.layout = panel_layout(type, cols);
  m.panels = (rows + kPanelRows - 1) / kPanelRows;
  const size_t bytes = static_cast<size_t>(m.panels) * m.layout.panel_bytes;
  if (!m.packed.reserve(bytes)) {
    return Error{ErrorCode::kResourceExhausted,
                 "no memory for " + std::to_string(bytes) + " bytes of weights"};
  }
  auto* panel = reinterpret_cast<uint8_t*>(m.packed.data());
  for (int64_t i = 0; i < m.panels; ++i) {
    const int64_t first = i * kPanelRows;
    const int n = static_cast<int>(rows - first < kPanelRows ? rows - first : kPanelRows);
    pack_panel(type, m.file + m.file_row_bytes * static_cast<size_t>(first), m.file_row_bytes, n,
               cols, panel);
    panel += m.layout.panel_bytes;
  }
  return matrix;
}

int64_t Matrix::rows() const { return impl_ ? impl_->rows : 0; }
int64_t Matrix::cols() const { return impl_ ? impl_->cols : 0; }
DType Matrix::type() const { return impl_ ? impl_->type : DType::kF32; }
size_t Matrix::bytes() const {
  return impl_ ? static_cast<size_t>(impl_->panels) * impl_->layout.panel_bytes : 0;
}

void Matrix::row(int64_t index, float* dst) const {
  assert(impl_ && index >= 0 && index < impl_->rows);
  dequantize(impl_->type, impl_->file + impl_->file_row_bytes * static_cast<size_t>(index),
             impl_->cols, dst);
}

}  // namespace fimd::cpu
