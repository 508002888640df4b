// Runs the program `band` for every place of the grid; follows emulated.h and band.cu in one source.

static Bits* arguments[5];
static Sizes sizes;

// Return what went wrong, or null. Tensors are y, x, reduced, weight, bias, with their numbers of elements.
extern "C" const char* run(
    Bits* const* tensors, const int64_t* counts, const int* numbers, int columns, int rows, int bytes) {
  if (bytes != 2 * BUFFER * 16) return "the host expects another size of shared memory";
  memcpy(arguments, tensors, sizeof arguments);
  memcpy(&sizes, numbers, sizeof sizes);
  for (int i = 0; i < 5; ++i) {
    const char* begin = (const char*)tensors[i];
    (i ? readable : writable).push_back({begin, begin + 2 * counts[i]});
  }
  for (grid_y = 0; grid_y < rows; ++grid_y)
    for (grid_x = 0; grid_x < columns; ++grid_x)
      run_program([] { band(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], sizes); }, bytes / 16);
  readable.clear();
  writable.clear();
  return failure;
}
