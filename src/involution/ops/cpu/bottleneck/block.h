// Arguments from the PyTorch side to the pass over one bottleneck block. All weights are packed in panels; see pass.h.
#pragma once
#include "../image.h"

namespace involution {

// The right factor of a product with its bias. `columns` is a multiple of 16; `panels` holds [columns / 32, rounded up]
// panels of [depth][32] in float32, [depth / 2][32][2] in bfloat16; `depth` is a multiple of 64 bytes.
struct Matrix {
  const void* panels;
  const float* bias;
  int64_t columns, depth;
};

struct Block {
  Matrix enter, reduce, span, leave;  // span: the first of `chunks` matrices, one after the other
  const float *scale, *shift;         // of the norm after the aggregation
  Window window;
  int64_t chunks, chunk_groups;  // groups are spanned `chunk_groups` at a time
  bool projection;               // leave = [W3 | Wd], its input [g; x], else x is added
};

// How bfloat16 is multiplied: widened to float32, in pairs (AVX512-BF16), or in tiles (AMX).
enum class Pairs { widened, dotted, tiled };

}  // namespace involution
