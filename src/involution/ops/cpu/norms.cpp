// The operators of ops/fused/norm.py for CPU tensors.
#include <tuple>

#include "tensors.h"

namespace involution {
namespace {

float* numbers(const char* name, const Tensor& t, const Ints& sizes) {
  check(t.scalar_type() == ScalarType::Float && Ints(t.sizes().begin(), t.sizes().end()) == sizes, name,
        ": expected float32 of shape ", Shape(sizes), ", got shape ", Shape(t));
  const bool map = sizes.size() == 4;
  int64_t distance = 1;
  for (const int64_t d : map ? Ints{1, 3, 2, 0} : Ints{0}) {
    check(sizes[d] == 1 || t.stride(d) == distance, name, ": expected ", map ? "channels-last" : "contiguous", " memory");
    distance *= sizes[d];
  }
  return static_cast<float*>(t.data_ptr());
}

Tensor empty_map(const Tensor& x) {
  const int64_t c = x.size(1), h = x.size(2), w = x.size(3);
  return empty_strided(x, {x.size(0), c, h, w}, {h * w * c, 1, w * c, c});
}

Norm norm_of(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& var, double eps,
             bool relu) {
  const Image from = image("x", x);
  check(x.numel() > 0, "x: expected a map that is not empty, got shape ", Shape(x));
  const Ints sizes(x.sizes().begin(), x.sizes().end()), channels{from.channels};
  Norm n{};
  n.pixels = from.batch * from.height * from.width, n.channels = from.channels, n.eps = eps, n.relu = relu;
  n.x = numbers("x", x, sizes);
  n.weight = numbers("weight", weight, channels), n.bias = numbers("bias", bias, channels);
  n.mean = numbers("mean", mean, channels), n.var = numbers("var", var, channels);
  return n;
}

std::tuple<Tensor, Tensor, Tensor> batch_norm(const Tensor& x, const MaybeTensor shortcut, const Tensor& weight,
                                              const Tensor& bias, double eps, bool relu) {
  check(relu || !shortcut, "shortcut: expected a ReLU after it");
  check(x.dim() == 4, "x: expected 4 dimensions, got shape ", Shape(x));
  const Tensor mean = empty_strided(x, {x.size(1)}, {1}), var = empty_strided(x, {x.size(1)}, {1}), y = empty_map(x);
  Norm n = norm_of(x, weight, bias, mean, var, eps, relu);
  const Ints sizes(x.sizes().begin(), x.sizes().end());
  n.shortcut = shortcut ? numbers("shortcut", *shortcut, sizes) : nullptr;
  n.y = static_cast<float*>(y.data_ptr());
  run([&](const InstructionSet& set) { set.batch_norm(n); });
  return {y, mean, var};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm_backward(const Tensor& grad, const Tensor& x, const MaybeTensor y,
                                                               const Tensor& weight, const Tensor& bias,
                                                               const Tensor& mean, const Tensor& var, double eps,
                                                               bool relu) {
  Norm n = norm_of(x, weight, bias, mean, var, eps, relu);
  const Ints sizes(x.sizes().begin(), x.sizes().end());
  n.y = y ? numbers("y", *y, sizes) : nullptr;
  const Tensor grad_x = empty_map(x), grad_shortcut = y ? empty_map(x) : empty_strided(x, {0}, {1});
  const Tensor grad_weight = empty_strided(x, {n.channels}, {1}), grad_bias = empty_strided(x, {n.channels}, {1});
  const auto data = [](const Tensor& t) { return static_cast<float*>(t.data_ptr()); };
  const NormGrads grads{numbers("grad", grad, sizes), data(grad_x), y ? data(grad_shortcut) : nullptr, data(grad_weight),
                        data(grad_bias)};
  run([&](const InstructionSet& set) { set.batch_norm_backward(n, grads); });
  return {grad_x, grad_shortcut, grad_weight, grad_bias};
}

}  // namespace
}  // namespace involution

STABLE_TORCH_LIBRARY_IMPL(involution, CPU, library) {
  library.impl("batch_norm", TORCH_BOX(&involution::batch_norm));
  library.impl("batch_norm_backward", TORCH_BOX(&involution::batch_norm_backward));
}
