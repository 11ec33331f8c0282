// The two searches shared by the K-quant encoders.
#include <algorithm>
#include <cmath>

#include "kernels/formats/codecs.h"

namespace fimd::formats {
namespace {

int round_code(float x, int low, int high) {
  if (!(x > static_cast<float>(low))) return low;  // also NaN
  if (x >= static_cast<float>(high)) return high;
  return static_cast<int>(std::lround(x));
}

}  // namespace

// Tries 21 step sizes around range / max_code. For each, rounds to codes, then solves the weighted
// least squares for (scale, min) given the codes and keeps the pair with the smallest error.
// Weights favour large elements (|x| plus the block's RMS), as errors there cost most downstream.
AffineFit fit_affine(const float* x, int n, int max_code, uint8_t* codes) {
  float low = std::min(0.0f, *std::min_element(x, x + n));
  const float high = std::max(*std::max_element(x, x + n), low);
  std::fill(codes, codes + n, uint8_t{0});
  if (!(high - low > 0) || !std::isfinite(high - low)) return {0.0f, std::isfinite(low) ? -low : 0};

  double mean_square = 0;
  for (int i = 0; i < n; ++i) mean_square += double{x[i]} * x[i] / n;
  const float rms = static_cast<float>(std::sqrt(mean_square));

  AffineFit best{(high - low) / static_cast<float>(max_code), -low};
  double best_error = -1;
  uint8_t trial[32];
  for (int step = -10; step <= 10; ++step) {
    const float inverse =
        (static_cast<float>(max_code) + 0.1f * static_cast<float>(step)) / (high - low);
    double w_sum = 0, wq = 0, wqq = 0, wx = 0, wqx = 0;
    for (int i = 0; i < n; ++i) {
      const int q = round_code((x[i] - low) * inverse, 0, max_code);
      trial[i] = static_cast<uint8_t>(q);
      const double w = rms + std::fabs(x[i]);
      w_sum += w;
      wq += w * q;
      wqq += w * q * q;
      wx += w * x[i];
      wqx += w * q * x[i];
    }
    const double determinant = w_sum * wqq - wq * wq;
    double scale, min;
    if (determinant > 0) {
      scale = (w_sum * wqx - wq * wx) / determinant;
      min = (wq * wqx - wqq * wx) / determinant;
    } else {
      scale = 1.0 / inverse;
      min = -low;
    }
    if (min < 0) {  // only subtraction of a non-negative minimum can be stored
      min = 0;
      scale = wqq > 0 ? wqx / wqq : 0;
    }
    if (!(scale > 0)) continue;
    double error = 0;
    for (int i = 0; i < n; ++i) {
      const double diff = scale * trial[i] - min - x[i];
      error += (rms + std::fabs(x[i])) * diff * diff;
    }
    if (best_error < 0 || error < best_error) {
      best_error = error;
      best = {static_cast<float>(scale), static_cast<float>(min)};
      std::copy(trial, trial + n, codes);
    }
  }
  return best;
}

// As above with one unknown: the largest magnitude maps to about -max_code steps, varied by 19 step
// sizes; the scale then follows by least squares weighted by x^2.
float fit_symmetric(const float* x, int n, int max_code, int8_t* codes) {
  float largest = 0;
  for (int i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  }
  std::fill(codes, codes + n, int8_t{0});
  if (!(std::fabs(largest) > 1e-30f) || !std::isfinite(largest)) return 0;

  float best_scale = 0;
  double best_gain = -1;
  for (int step = -9; step <= 9; ++step) {
    const float inverse =
        -(static_cast<float>(max_code) + 0.1f * static_cast<float>(step)) / largest;
    double wqx = 0, wqq = 0;
    for (int i = 0; i < n; ++i) {
      const int q = round_code(x[i] * inverse, -max_code, max_code - 1);
      const double w = double{x[i]} * x[i];
      wqx += w * q * x[i];
      wqq += w * q * q;
    }
    if (wqq <= 0) continue;
    const double gain = wqx * wqx / wqq;  // the error removed by the best scale for these codes
    if (gain > best_gain) {
      best_gain = gain;
      best_scale = static_cast<float>(wqx / wqq);
      for (int i = 0; i < n; ++i) {
        codes[i] = static_cast<int8_t>(round_code(x[i] * inverse, -max_code, max_code - 1));
      }
    }
  }
  return best_scale;
}

}  // namespace fimd::formats
