// What band.cu uses of the GPU: instructions of a warp for 8 x 8 matrices of 16 bits, and copies to shared memory.
// Compiled by NVRTC, which has no headers: numbers of 16 bits are `Bits`.

#define device __device__ __forceinline__
#define kernel extern "C" __global__ __launch_bounds__(128)

typedef unsigned short Bits;
typedef uint4 Chunk;  // 8 numbers
struct Sums { float at[4]; };

#if BFLOAT16
#define TYPE "bf16"
#else
#define TYPE "f16"
#endif

device int thread() { return threadIdx.x; }
device int program_x() { return blockIdx.x; }
device int program_y() { return blockIdx.y; }
device void synchronize() { __syncthreads(); }

device Chunk* shared_memory() {
  extern __shared__ Chunk memory[];
  return memory;
}

device unsigned address(const Chunk* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// Begin to copy 8 numbers; zeros if they do not exist.
device void copy_async(Chunk* to, const Bits* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(to)), "l"(from), "r"(exists ? 16 : 0));
}
device void end_of_copy() { asm volatile("cp.async.commit_group;"); }
device void finish_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

device unsigned load_pair(const Bits* p) { return __ldg(reinterpret_cast<const unsigned*>(p)); }
device void store_pair(Bits* p, unsigned pair) { *reinterpret_cast<unsigned*>(p) = pair; }

device float load_value(const Bits* p) {
  unsigned short bits = __ldg(p);
#if BFLOAT16
  return __uint_as_float(bits << 16);
#else
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
#endif
}

// Two numbers in 16 bits, the first in the lower half.
device unsigned pack(float low, float high) {
  unsigned pair;
  asm("cvt.rn." TYPE "x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

device unsigned shuffle(unsigned value, int lane) { return __shfl_sync(~0u, value, lane); }
device unsigned permute(unsigned value, unsigned bytes) { return __byte_perm(value, 0, bytes); }

// Lane 4i + j has numbers 2j and 2j + 1 of row i of a matrix; afterwards those of column i.
device unsigned transpose(unsigned pair) {
  unsigned result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

// Load matrices from rows of 8 numbers, of which every lane gives one: lane 4i + j gets numbers 2j and 2j + 1 of row i.
device void load_two_matrices(unsigned (&m)[2], const Chunk* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(m[0]), "=r"(m[1])
               : "r"(address(row))
               : "memory");
}

// The same for four matrices, with numbers 2j and 2j + 1 of column i.
device void load_matrices_transposed(unsigned (&m)[4], const Chunk* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address(row))
               : "memory");
}

// Return c [16, 8] + a [16, 16] · b [16, 8], on the tensor cores. With i = lane / 4 and j = lane % 4, a lane has of a
// rows i and i + 8 of columns 2j, 2j + 1, then of columns 2j + 8, 2j + 9; of b these columns as rows, in column i; of c
// columns 2j and 2j + 1 of row i, then of row i + 8.
device Sums multiply(const unsigned (&a)[4], const unsigned (&b)[2], const Sums& c) {
  Sums d;
  asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d.at[0]), "=f"(d.at[1]), "=f"(d.at[2]), "=f"(d.at[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c.at[0]), "f"(c.at[1]), "f"(c.at[2]),
        "f"(c.at[3]));
  return d;
}
