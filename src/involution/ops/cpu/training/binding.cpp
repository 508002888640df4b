// The operators of ops/fused/norm.py and ops/fused/pointwise.py for CPU tensors.
#include <tuple>

#include "../tensors.h"

namespace involution {
namespace {

Ints sizes_of(const Tensor& t) { return {t.sizes().begin(), t.sizes().end()}; }

float* data(const Tensor& t) { return static_cast<float*>(t.data_ptr()); }

float* numbers(const char* name, const Tensor& t, const Ints& sizes) {
  check(t.scalar_type() == ScalarType::Float && sizes_of(t) == sizes, name, ": expected float32 of shape ", Shape(sizes),
        ", got shape ", Shape(t));
  const bool map = sizes.size() == 4;
  int64_t distance = 1;
  for (const int64_t d : map ? Ints{1, 3, 2, 0} : Ints{0}) {
    check(sizes[d] == 1 || t.stride(d) == distance, name, ": expected ", map ? "channels-last" : "contiguous", " memory");
    distance *= sizes[d];
  }
  return data(t);
}

float* map_of(const char* name, const Tensor& t) {
  check(t.dim() == 4, name, ": expected 4 dimensions, got shape ", Shape(t));
  return numbers(name, t, sizes_of(t));
}

Tensor empty_map(const Tensor& x, int64_t channels) {
  const int64_t h = x.size(2), w = x.size(3);
  return empty_strided(x, {x.size(0), channels, h, w}, {h * w * channels, 1, w * channels, channels});
}

Tensor empty_vector(const Tensor& x, int64_t size) { return empty_strided(x, {size}, {1}); }

Norm norm_of(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& var, double eps,
             bool relu) {
  Norm n{};
  n.x = map_of("x", x);
  check(x.numel() > 0, "x: expected a map that is not empty, got shape ", Shape(x));
  n.channels = x.size(1), n.pixels = x.numel() / n.channels, n.eps = eps, n.relu = relu;
  const Ints channels{n.channels};
  n.weight = numbers("weight", weight, channels), n.bias = numbers("bias", bias, channels);
  n.mean = numbers("mean", mean, channels), n.var = numbers("var", var, channels);
  return n;
}

std::tuple<Tensor, Tensor, Tensor> batch_norm(const Tensor& x, const MaybeTensor shortcut, const Tensor& weight,
                                              const Tensor& bias, double eps, bool relu) {
  check(relu || !shortcut, "shortcut: expected a ReLU after it");
  check(x.dim() == 4, "x: expected 4 dimensions, got shape ", Shape(x));
  const int64_t channels = x.size(1);
  const Tensor mean = empty_vector(x, channels), var = empty_vector(x, channels), y = empty_map(x, channels);
  Norm n = norm_of(x, weight, bias, mean, var, eps, relu);
  n.shortcut = shortcut ? numbers("shortcut", *shortcut, sizes_of(x)) : nullptr;
  n.y = data(y);
  run([&](const InstructionSet& set) { set.batch_norm(n); });
  return {y, mean, var};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm_backward(const Tensor& grad, const Tensor& x, const MaybeTensor y,
                                                               const Tensor& weight, const Tensor& bias,
                                                               const Tensor& mean, const Tensor& var, double eps,
                                                               bool relu) {
  Norm n = norm_of(x, weight, bias, mean, var, eps, relu);
  n.y = y ? numbers("y", *y, sizes_of(x)) : nullptr;
  const Tensor grad_x = empty_map(x, n.channels), grad_shortcut = y ? empty_map(x, n.channels) : empty_vector(x, 0);
  const Tensor grad_weight = empty_vector(x, n.channels), grad_bias = empty_vector(x, n.channels);
  const NormGrads grads{numbers("grad", grad, sizes_of(x)), data(grad_x), y ? data(grad_shortcut) : nullptr,
                        data(grad_weight), data(grad_bias)};
  run([&](const InstructionSet& set) { set.batch_norm_backward(n, grads); });
  return {grad_x, grad_shortcut, grad_weight, grad_bias};
}

// The weight [outputs, inputs, 1, 1] of a convolution of x.
float* weight_of(const Tensor& x, const Tensor& weight) {
  constexpr int64_t multiple = 16;
  check(weight.dim() == 4 && weight.numel() > 0 && weight.size(0) % multiple == 0 && weight.size(1) % multiple == 0,
        "weight: expected [N, K, 1, 1] with positive multiples of 16, got shape ", Shape(weight));
  return numbers("weight", weight, {weight.size(0), x.size(1), 1, 1});
}

Tensor pointwise_conv(const Tensor& x, const Tensor& weight) {
  Pointwise conv{};
  conv.x = map_of("x", x), conv.weight = weight_of(x, weight);
  conv.pixels = x.size(0) * x.size(2) * x.size(3), conv.depth = x.size(1), conv.columns = weight.size(0);
  conv.weight_depth = 1, conv.weight_column = conv.depth;
  const Tensor y = empty_map(x, conv.columns);
  conv.y = data(y);
  run([&](const InstructionSet& set) { set.pointwise(conv); });
  return y;
}

std::tuple<Tensor, Tensor> pointwise_conv_backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                                   const MaybeTensor grad_shortcut, int64_t shortcut_stride,
                                                   const std::vector<bool> output_mask) {
  check(shortcut_stride > 0, "shortcut_stride: expected at least 1, got ", shortcut_stride);
  check(output_mask.size() == 2, "output_mask: expected 2 values, got ", output_mask.size());
  PointwiseWeight conv{};
  conv.x = map_of("x", x);
  const float* const weights = weight_of(x, weight);
  conv.pixels = x.size(0) * x.size(2) * x.size(3), conv.inputs = x.size(1), conv.outputs = weight.size(0);
  conv.grad = numbers("grad", grad, {x.size(0), conv.outputs, x.size(2), x.size(3)});
  const auto strided = [&](int64_t size) { return size / shortcut_stride + (size % shortcut_stride > 0); };
  const Ints shortcut_sizes{x.size(0), conv.inputs, strided(x.size(2)), strided(x.size(3))};
  const float* const shortcut = grad_shortcut ? numbers("grad_shortcut", *grad_shortcut, shortcut_sizes) : nullptr;
  const Tensor grad_x = output_mask[0] ? empty_map(x, conv.inputs) : empty_vector(x, 0);
  const Tensor grad_weight = output_mask[1] ? empty_strided(x, sizes_of(weight), {weight.strides().begin(), weight.strides().end()})
                                            : empty_vector(x, 0);
  conv.grad_weight = data(grad_weight);
  run([&](const InstructionSet& set) {
    if (output_mask[0])
      set.pointwise({conv.pixels, conv.outputs, conv.inputs, conv.grad, weights, conv.inputs, 1, data(grad_x), shortcut,
                     x.size(2), x.size(3), shortcut_stride});
    if (output_mask[1]) set.pointwise_weight(conv);
  });
  return {grad_x, grad_weight};
}

}  // namespace
}  // namespace involution

STABLE_TORCH_LIBRARY_IMPL(involution, CPU, library) {
  library.impl("batch_norm", TORCH_BOX(&involution::batch_norm));
  library.impl("batch_norm_backward", TORCH_BOX(&involution::batch_norm_backward));
  library.impl("pointwise_conv", TORCH_BOX(&involution::pointwise_conv));
  library.impl("pointwise_conv_backward", TORCH_BOX(&involution::pointwise_conv_backward));
}
