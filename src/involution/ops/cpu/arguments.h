// Arguments and results of the involutions: the same checks as in geometry.py, and the layout rule of layout.py.
#pragma once
#include "tensors.h"

namespace involution {
namespace {

const char* name_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Half: return "float16";
    default: return "another";
  }
}

void check_like(const char* name, const Tensor& tensor, const char* other, const Tensor& like) {
  check(tensor.scalar_type() == like.scalar_type(), name, ": expected the dtype of ", other, ", ",
        name_of(like.scalar_type()), ", got ", name_of(tensor.scalar_type()));
}

// Axes [first, end) of a tensor as one, if they are at equal distances.
struct Axis {
  int64_t size = 1, stride = 1;
  bool regular = true;

  Axis(const Tensor& t, int64_t first, int64_t end) {
    const auto sizes = t.sizes(), strides = t.strides();
    for (int64_t d = end - 1; d >= first; --d) {
      if (sizes[d] != 1) {
        if (size == 1) stride = strides[d];
        regular = regular && strides[d] == stride * size;
      }
      size *= sizes[d];
    }
  }
};

Tensor compact(const Tensor& t) {
  const Tensor copy = torch::stable::new_empty(t, t.sizes());
  torch::stable::copy_(const_cast<Tensor&>(copy), t);
  return copy;
}

// [B, C, *pixels] or, if groups are interleaved, [B, C/G, G, *pixels], with pixels [H, W] or [Ho, Sh, Wo, Sw]; a copy
// in `owner` if axes that belong together are not at equal distances.
int64_t lead(const Tensor& t) { return 2 + t.dim() % 2; }
Image feature_map(const char* name, const Tensor& t, Tensor& owner) {
  const int64_t first = lead(t), pixels = (t.dim() - first) / 2;
  check(t.dim() >= 4 && t.dim() <= 7, name, ": expected 4 dimensions, got shape ", Shape(t));
  owner = t;
  const auto regular = [&] {
    return Axis(owner, 1, first).regular && Axis(owner, first, first + pixels).regular &&
           Axis(owner, first + pixels, t.dim()).regular;
  };
  if (t.dim() > 4 && !regular()) owner = compact(t);
  const Axis channels(owner, 1, first), rows(owner, first, first + pixels), columns(owner, first + pixels, t.dim());
  check(rows.size < kLargest && columns.size < kLargest, name, ": expected fewer than 2^31 rows and columns, got shape ",
        Shape(t));
  return {owner.data_ptr(), dtype(name, t), t.size(0),   channels.size, rows.size,
          columns.size,     owner.stride(0), channels.stride, rows.stride,   columns.stride};
}

// [B, G, Kh, Kw, Ho, Wo], [B, G, Kh, Kw, Ho, Sh, Wo, Sw] or, with the pixels from axis 3 on, [B, G, K·K, H, W]; groups and
// taps are at equal distances, as contiguous and channels-last tensors have them, else they are copied into `owner`.
Image kernel_image(const Tensor& t, Tensor& owner, int64_t first = 4) {
  check(t.dim() == first + 2 || t.dim() == first + 4, "kernel: expected [B, G, Kh, Kw, Ho, Wo], got shape ", Shape(t));
  owner = Axis(t, 1, first).regular ? t : compact(t);
  const Axis taps(owner, 1, first);
  const int64_t columns = (first + t.dim()) / 2;
  Image image{owner.data_ptr(), dtype("kernel", t), t.size(0),   taps.size,           t.size(first),
              t.size(columns),  owner.stride(0),    taps.stride, owner.stride(first), owner.stride(columns)};
  if (t.dim() == first + 4) image.step_h = owner.stride(first + 1), image.step_w = owner.stride(columns + 1);
  return image;
}

// [B, *channels, *pixels], channels last if those of the feature map `like` are densest in memory: the rule of layout.py.
Tensor empty(const Tensor& like, const Ints& sizes, size_t pixels = 2) {
  const bool channels_last = like.stride(lead(like) - 1) == 1 && !like.is_contiguous();
  const size_t rank = sizes.size(), first = rank - pixels;
  std::vector<size_t> order;  // dimensions from the outermost in memory to the innermost
  const auto append = [&](size_t from, size_t end) {
    for (size_t d = from; d < end; ++d) order.push_back(d);
  };
  append(0, 1);
  if (channels_last) append(first, rank);
  append(1, first);
  if (!channels_last) append(first, rank);
  Ints strides(rank);
  int64_t distance = 1;
  for (size_t k = rank; k-- > 0;) {
    strides[order[k]] = distance;
    distance *= sizes[order[k]] > 1 ? sizes[order[k]] : 1;
  }
  return empty_strided(like, sizes, strides);
}

Window window(int64_t channels, int64_t groups, const Ints& taps, const Ints& stride, const Ints& padding,
              const Ints& dilation) {
  check(groups > 0 && channels % groups == 0, "kernel: expected groups G that divide the ", channels,
        " channels of x, got G = ", groups);
  const auto pair = [](const char* name, const Ints& values, int64_t least) {
    check(values.size() == 2 && values[0] >= least && values[1] >= least && values[0] < kLargest && values[1] < kLargest,
          name, ": expected a pair of numbers from ", least, " to 2^31 - 1");
  };
  pair("window", taps, 1);
  pair("stride", stride, 1);
  pair("padding", padding, 0);
  pair("dilation", dilation, 1);
  return {groups, taps[0], taps[1], stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1]};
}

// [G·Kh·Kw, R] and [G·Kh·Kw] as images of one row, the channels of which are the taps.
Span span_of(const Tensor& reduced, const Tensor& weight, const MaybeTensor& bias, const Window& w) {
  const Image features = image("reduced", reduced);
  const int64_t taps = w.groups * w.taps();
  check(weight.dim() == 2 && weight.size(0) == taps && weight.size(1) == features.channels,
        "weight: expected [G*Kh*Kw, R] = [", taps, ", ", features.channels, "], got shape ", Shape(weight));
  const Dtype type = dtype("weight", weight);
  Image offset{nullptr, type, 1, taps, 1, 1, 0, 1, 0, 0};
  if (bias) {
    check(bias->dim() == 1 && bias->size(0) == taps, "bias: expected [G*Kh*Kw] = [", taps, "], got shape ", Shape(*bias));
    offset.data = bias->data_ptr();
    offset.stride_c = bias->stride(0);
  }
  return {features, {weight.data_ptr(), type, 1, taps, 1, features.channels, 0, weight.stride(0), 0, weight.stride(1)},
          offset};
}

}  // namespace
}  // namespace involution
