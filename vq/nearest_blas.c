/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nearest codeword by a shortlist: sgemm scores every codeword fast and inexactly, every codeword that
 * could still be the contract's answer is kept, and the contract kernel decides among those.
 *
 * Why the answer is the same. u = 2^-24, g(n) = n u / (1 - n u); hats mark computed values. x' and c' are the
 * centred row and codeword (the plain ones unless Euclidean), C the largest |c'|, R = |x'| + C.
 *
 * (1) sgemm, in any order, with or without fused multiply-add: |dot^ - x'.c'| <= g(d) |x'||c'| + d 2^-149,
 *     the last for products that underflow. The score subtracts bias^ = fl(|c'|^2 / 2):
 *         |s^ - s| <= E = g(d+4) (|x'| C + C^2 / 2) + (d+4) 2^-149,   s = x'.c' - |c'|^2 / 2.
 * (2) The contract's dot product has d products, ceil(d/8) - 1 + 3 additions deep: m = ceil(d/8) + 3 and
 *         |S^ - S| <= g(m) |x||c| + d 2^-149.
 *     So if k wins by the contract and b has the best s^, S_k >= S_b - 2 (that), and
 *         s^_k >= s^_b - 2 E - 2 (g(m) |x| C + d 2^-149).
 * (3) The contract's distance has only terms >= 0, so its error is relative: 2 subtraction factors, 1 product,
 *     the additions as above, m = ceil(d/8) + 5: |D^ - D| <= g(m) D + d 2^-149. From D^_k <= D^_b:
 *         D_k - D_b <= 2 g(m) / (1 - g(m)) D_b + 4 d 2^-149.
 * (4) Centring rounds: |(x - c) - (x' - c')| <= u R, so with D' = |x' - c'|^2 = |x'|^2 - 2 s,
 *         sqrt(D_b) <= sqrt(D'_b) + u R   and   |D - D'| <= u R^2 (2 + u).
 *     With 2 (s_b - s_k) = D'_k - D'_b:
 *         s^_k >= s^_b - 2 E - g(m) / (1 - g(m)) D_b - 2 d 2^-149 - u R^2 (2 + u),
 *     where D'_b <= |x'|^2 - 2 s^_b + 2 E.
 * The sums below are in double; their own rounding is covered by a factor of 1 + 2^-20. The margin only
 * shrinks as the best score grows, so a threshold taken from the best so far never drops the answer.
 * All of it needs that nothing overflows: rows with R^2 > 2^120 are scanned instead.
 */
#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <strings.h>

#include "vq/nearest_internal.h"

enum {
    COLUMNS = 512,   /* codewords of one sgemm: the scores of a block stay in a level-2 cache */
    CANDIDATES = 24, /* kept for a row; with more, a scan of all is as good */
    OVERFLOWED = CANDIDATES + 1
};

typedef struct row_state {
    double norm;    /* |x'|, not below it */
    float best;     /* score so far */
    uint32_t count; /* candidates, or OVERFLOWED: the row must be scanned */
    uint32_t codes[CANDIDATES];
    float scores[CANDIDATES];
} row_state;

typedef struct bound {
    double gemm, contract, centring; /* factors of the terms above */
    double tiny;                     /* what underflow may add up to */
    double largest;                  /* C */
    int euclidean;
} bound;

static double gamma_of(double n)
{
    return n * 0x1p-24 / (1 - n * 0x1p-24);
}

static bound make_bound(const vq_codebook *codebook)
{
    const uint32_t depth = (codebook->d + 7) / 8; /* products in the longest of the eight sums */
    const double d = codebook->d;
    bound b = {0};
    b.euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    b.gemm = gamma_of(d + 4);
    b.contract =
        b.euclidean ? gamma_of(depth + 5) / (1 - gamma_of(depth + 5)) : gamma_of(depth + 3);
    b.centring = 0x1p-24 * (2 + 0x1p-24);
    b.tiny = (d + 4) * 0x1p-146; /* 2 (d+4) 2^-149 of (1), and 2 d 2^-149 of (2) or (4) */
    b.largest = codebook->largest_norm * (1 + 0x1p-20);
    return b;
}

/* A bound of |x'| from the sum of squares that centre_row() made: its own rounding and underflow. */
static double norm_of(float square, size_t d)
{
    return sqrt(square * (1 + ((double)d / 8 + 16) * 0x1p-23) + (double)d * 0x1p-148);
}

/* The lowest score that the contract's answer can have where the best is `best`. */
static float threshold(const bound *b, double norm, float best)
{
    double margin;
    if (b->euclidean) {
        const double e = b->gemm * (norm + b->largest / 2) * b->largest;
        const double reach = norm + b->largest;
        const double square = norm * norm - 2.0 * best + 2 * (e + b->tiny);
        const double distance = sqrt(square > 0 ? square : 0) + 0x1p-24 * reach;
        margin = 2 * e + b->contract * distance * distance + b->centring * reach * reach + b->tiny;
    } else {
        margin = 2 * (b->gemm + b->contract) * norm * b->largest + b->tiny;
    }
    const double t = best - margin * (1 + 0x1p-20);
    return (float)(t - fabs(t) * 0x1p-23 -
                   0x1p-149); /* the conversion may round up by half of that */
}

/* Does BLAS use 512-bit registers? If not, the contract kernels that do are as fast as its sgemm. */
static int blas_is_as_wide(const vqi_nearest_kernels *kernels)
{
    static const char *const wide[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    if (kernels->lanes < 16)
        return 1;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (!strcasecmp(openblas_get_corename(), wide[i]))
            return 1;
    return 0;
}

int vqi_nearest_blas_pays(const vq_codebook *codebook, const vqi_nearest_kernels *kernels, size_t n)
{
    const double k = codebook->k, d = codebook->d;
    /* Measured: what the shortlist itself costs for a row and for each score, counted in the products that
     * sgemm must save to pay for it. The wider the contract kernels, the less it saves. */
    const double per_row = kernels->lanes * 150.0, per_score = kernels->lanes;
    return n >= 64 && d >= 4 && d <= 65536 /* g() needs d u well below 1 */ &&
           k * d >= per_row + per_score * k && blas_is_as_wide(kernels);
}

static size_t padded_bytes(size_t count, size_t size)
{
    return (count * size + 63) / 64 * 64;
}

static size_t columns_of(const vq_codebook *codebook)
{
    return codebook->padded_k < COLUMNS ? codebook->padded_k : COLUMNS;
}

/* The three parts of the scratch. rows is at most VQI_BLAS_ROWS and d at most 65536: no overflow. */
static size_t centred_bytes(const vq_codebook *codebook, size_t rows)
{
    return codebook->centre ? padded_bytes(rows * codebook->d, sizeof(float)) : 0;
}

static size_t scores_bytes(const vq_codebook *codebook, size_t rows)
{
    return padded_bytes(rows * columns_of(codebook), sizeof(float));
}

size_t vqi_nearest_blas_scratch(const vq_codebook *codebook, size_t rows)
{
    return centred_bytes(codebook, rows) + scores_bytes(codebook, rows) +
           padded_bytes(rows, sizeof(row_state));
}

/* Drop the candidates that the best score has left behind. */
static void prune(row_state *row, float lowest)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < row->count; i++)
        if (row->scores[i] >= lowest) {
            row->codes[kept] = row->codes[i];
            row->scores[kept++] = row->scores[i];
        }
    row->count = kept;
}

/* Take up the scores of `count` codewords from `first` on. */
static void collect(row_state *row, const bound *b, const vqi_nearest_kernels *kernels,
                    const float *scores, const float *bias, uint32_t first, size_t count)
{
    const float most = kernels->row_maximum(scores, bias, count);
    if (most > row->best)
        row->best = most;
    const float lowest = threshold(b, row->norm, row->best);
    if (first)
        prune(row, lowest);
    if (most < lowest)
        return;
    const size_t room = CANDIDATES - row->count;
    uint32_t found[CANDIDATES];
    const size_t n = kernels->row_at_least(found, room, scores, bias, count, lowest);
    if (n > room) {
        row->count = OVERFLOWED;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        row->codes[row->count] = first + found[i];
        row->scores[row->count++] = scores[found[i]] - bias[found[i]];
    }
}

/* The contract decides. Candidates are in rising order, so equal scores go to the lowest code. */
static void decide(uint32_t *code, float *score, const row_state *row, const vq_codebook *codebook,
                   const vqi_nearest_kernels *kernels, const float *x)
{
    const size_t d = codebook->d;
    *code = row->codes[0];
    if (row->count == 1 && !score)
        return;
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    float (*const contract)(const float *, const float *, size_t) =
        euclidean ? kernels->distance : kernels->dot;
    float best = contract(x, codebook->codewords + row->codes[0] * d, d);
    for (uint32_t i = 1; i < row->count; i++) {
        const float s = contract(x, codebook->codewords + row->codes[i] * d, d);
        if (euclidean ? s < best : s > best) {
            best = s;
            *code = row->codes[i];
        }
    }
    if (score)
        *score = best;
}

/* What openblas_get_parallel() says of the builds that need care. */
enum { OPENBLAS_SERIAL = 0, OPENBLAS_PTHREADS = 1 };

/* The serial build of OpenBLAS shares its buffers between callers: two at once get each other's numbers. (Not an
   OpenMP critical section: those are names that every program linked with us would see.) */
static pthread_mutex_t serial_blas = PTHREAD_MUTEX_INITIALIZER;

/* block[r][k] = x[r] . codewords[k], with rows of `columns` floats in block. */
static void multiply(float *block, size_t columns, const float *x, size_t rows,
                     const float *codewords, size_t count, size_t d)
{
    const int serial = openblas_get_parallel() == OPENBLAS_SERIAL;
    if (serial)
        pthread_mutex_lock(&serial_blas);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)count, (int)d, 1.0f, x,
                (int)d, codewords, (int)d, 0.0f, block, (int)columns);
    if (serial)
        pthread_mutex_unlock(&serial_blas);
}

void vqi_nearest_blas(uint32_t *codes, float *scores, const vq_codebook *codebook,
                      const vqi_nearest_kernels *kernels, const float *x, size_t rows,
                      void *scratch)
{
    const size_t d = codebook->d, columns = columns_of(codebook);
    float *centred = scratch;
    float *block = (float *)((char *)scratch + centred_bytes(codebook, rows));
    row_state *state = (row_state *)((char *)block + scores_bytes(codebook, rows));
    const bound b = make_bound(codebook);

    for (size_t r = 0; r < rows; r++) {
        const float square = kernels->centre_row(codebook->centre ? centred + r * d : NULL,
                                                 x + r * d, codebook->centre, d);
        state[r].norm = norm_of(square, d);
        state[r].best = -INFINITY;
        state[r].count = state[r].norm + b.largest <= 0x1p60 ? 0 : OVERFLOWED; /* so if infinite */
    }
    for (uint32_t first = 0; first < codebook->padded_k; first += (uint32_t)columns) {
        const size_t left = codebook->padded_k - first, count = left < columns ? left : columns;
        multiply(block, columns, codebook->centre ? centred : x, rows,
                 codebook->shortlist + first * d, count, d);
        for (size_t r = 0; r < rows; r++)
            if (state[r].count != OVERFLOWED)
                collect(&state[r], &b, kernels, block + r * columns, codebook->bias + first, first,
                        count);
    }
    for (size_t r = 0; r < rows; r++) {
        float *score = scores ? scores + r : NULL;
        if (state[r].count == OVERFLOWED)
            vqi_nearest_scan(codes + r, score, codebook, kernels, x + r * d, 1);
        else
            decide(codes + r, score, &state[r], codebook, kernels, x + r * d);
    }
}

int vqi_blas_begin(void)
{
    if (openblas_get_parallel() != OPENBLAS_PTHREADS)
        return 0;
    const int saved = openblas_get_num_threads();
    openblas_set_num_threads(1);
    return saved;
}

void vqi_blas_end(int saved)
{
    if (saved)
        openblas_set_num_threads(saved);
}
