/* The maximum of each 2x2 window of channels-last images, and its gradient, for floats of 16 bits (bfloat16) and of 32.

   Only the order of the values matters, so they are compared as integers, which all processors do on whole vectors. As in torch
   a NaN wins, the last of several does, and of equal values, +0 and -0 among them, the first. `which` keeps the winner's place
   in the window: 0 and 1 above, 2 and 3 below. Rows and columns beyond the last whole window take no part.

   The file includes itself once for each kind of float. C has to be a vector's length at least: the last vector of a pixel may
   overlap the one before, where the same is written again. */

#ifndef BITS

#include <stdint.h>
#include <string.h>

#define BITS 16
#include "max_pool.c"
#undef BITS
#define BITS 32
#include "max_pool.c"

#else

#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)
#define NAME(stem) JOINED(stem, BITS)

#define LANES (256 / BITS)
#define MAGNITUDE (BITS == 16 ? 0x7fff : 0x7fffffff) /* all but the sign; as a key, NaN's: above all numbers */
#define INFINITE (BITS == 16 ? 0x7f80 : 0x7f800000)

typedef JOINED(JOINED(int, BITS), _t) NAME(Value);
typedef NAME(Value) NAME(Vector) __attribute__((vector_size(32)));
typedef uint8_t NAME(Places) __attribute__((vector_size(LANES)));

#define Value NAME(Value)
#define Vector NAME(Vector)
#define Places NAME(Places)

/* memcpy of a constant size: a load or a store that needs no alignment */
#define LOAD(type, from) ({ type loaded; memcpy(&loaded, from, sizeof loaded); loaded; })
#define STORE(to, vector) ({ __typeof__(vector) stored = vector; memcpy(to, &stored, sizeof stored); })
#define CHOSEN(mask, a, b) (((mask) & (a)) | (~(mask) & (b)))

static inline Vector NAME(key)(Vector bits) {
    Vector sign = bits >> (BITS - 1), magnitude = bits & MAGNITUDE; /* the sign as 0 or -1 */
    Vector nan = magnitude > INFINITE;
    return CHOSEN(nan, (Vector){} + MAGNITUDE, (magnitude ^ sign) - sign);
}

static inline Vector NAME(wins)(Vector key, Vector over) { return (key > over) | (key == MAGNITUDE); }

void NAME(max_pool)(const Value *restrict images, Value *restrict pooled, uint8_t *restrict which, int64_t B, int64_t H,
                    int64_t W, int64_t C, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < B * (H / 2); row++) {
        const Value *above = images + (row / (H / 2) * H + row % (H / 2) * 2) * W * C;
        for (int64_t column = 0; column < W / 2; column++) {
            for (int64_t channel = 0; channel < C; channel += LANES) {
                int64_t c = channel + LANES > C ? C - LANES : channel;
                const Value *at = above + 2 * column * C + c;
                Vector a = LOAD(Vector, at), b = LOAD(Vector, at + C);
                Vector d = LOAD(Vector, at + W * C), e = LOAD(Vector, at + W * C + C);
                Vector key_a = NAME(key)(a), key_b = NAME(key)(b), key_d = NAME(key)(d), key_e = NAME(key)(e);
                Vector right_above = NAME(wins)(key_b, key_a), right_below = NAME(wins)(key_e, key_d);
                Vector below = NAME(wins)(CHOSEN(right_below, key_e, key_d), CHOSEN(right_above, key_b, key_a));
                Vector value = CHOSEN(below, CHOSEN(right_below, e, d), CHOSEN(right_above, b, a));
                Vector place = (below & 2) | (CHOSEN(below, right_below, right_above) & 1);
                int64_t to = (row * (W / 2) + column) * C + c;
                STORE(pooled + to, value);
                STORE(which + to, __builtin_convertvector(place, Places));
            }
        }
    }
}

/* Adding to zeros, as torch does, turns a gradient of -0 into +0: here too. */
void NAME(max_pool_gradient)(const Value *restrict pooled, const uint8_t *restrict which, Value *restrict images, int64_t B,
                             int64_t H, int64_t W, int64_t C, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < B * (H / 2); row++) {
        Value *above = images + (row / (H / 2) * H + row % (H / 2) * 2) * W * C;
        for (int64_t column = 0; column < W / 2; column++) {
            for (int64_t channel = 0; channel < C; channel += LANES) {
                int64_t c = channel + LANES > C ? C - LANES : channel, from = (row * (W / 2) + column) * C + c;
                Value *at = above + 2 * column * C + c;
                Vector value = LOAD(Vector, pooled + from);
                value &= (value & MAGNITUDE) != 0;
                Vector place = __builtin_convertvector(LOAD(Places, which + from), Vector);
                STORE(at, value & (place == 0));
                STORE(at + C, value & (place == 1));
                STORE(at + W * C, value & (place == 2));
                STORE(at + W * C + C, value & (place == 3));
            }
        }
        if (W % 2) {
            memset(above + (W - 1) * C, 0, C * sizeof(Value));
            memset(above + (2 * W - 1) * C, 0, C * sizeof(Value));
        }
        if (H % 2 && row % (H / 2) == H / 2 - 1) memset(above + 2 * W * C, 0, W * C * sizeof(Value));
    }
}

#undef Value
#undef Vector
#undef Places

#endif
